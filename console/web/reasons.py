"""Why a moderator decided as they did, as a list to choose from: the policy has it."""

from __future__ import annotations

from typing import Final

from deadpan.core.errors import ConfigurationError
from tasks.policy.reason_codes import ReasonCodes

NEED_A_REASON: Final = ("remove", "escalate")


def check(codes: ReasonCodes, action: str, code: str | None) -> str | None:
    """Gives the code of a decision.

    Raises:
        ConfigurationError: it is unknown, or the action needs one.
    """
    if not code:
        if action in NEED_A_REASON:
            raise ConfigurationError(f"choose a reason to {action} this post")
        return None
    if code not in codes:
        raise ConfigurationError(f"unknown reason {code[:80]!r}; choose one of: {', '.join(codes)}")
    return code


def chosen(codes: ReasonCodes, action: str, code: str) -> str | None:
    """Gives the code of a decision that was made on a page, where reasons are to remove or to
    escalate: one that was chosen before somebody thought better of it does not go with an approval.

    Raises:
        ConfigurationError: it is unknown, or the action needs one.
    """
    return check(codes, action, code if action in NEED_A_REASON else None)


def words(code: str | None, codes: ReasonCodes) -> str:
    """A code for people, also one that the policy does not have any more."""
    if not code:
        return ""
    return codes.get(code) or code.replace("-", " ").replace("_", " ").capitalize()
