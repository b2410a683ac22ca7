"""Roles that an OpenID provider gives: what a claim says, in the words of the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.tables import ROLES


@dataclass(frozen=True, slots=True)
class ClaimedRoles:
    """Which role follows from a claim.

    Args:
        claim: its name, or the way to it through objects, such as `realm_access.roles`.
        roles: the role of each of its values, compared letter by letter.
    """

    claim: str
    roles: Mapping[str, str]

    def has(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claim is there, whatever it says."""
        return _at(claims, self.claim) is not None

    def role(self, claims: Mapping[str, Any]) -> str | None:
        """The highest role that a value of the claim has; None where none has one.

        A text is one value, a list is as many; anything else, in a list too, is none.
        """
        said = _at(claims, self.claim)
        values = said if isinstance(said, list) else [said]
        found = {self.roles.get(value) for value in values if isinstance(value, str)}
        return next((role for role in reversed(ROLES) if role in found), None)


def _at(claims: Mapping[str, Any], path: str) -> Any:
    # Some providers name a claim by a web address, which has dots of its own.
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
