"""A policy's file as it is written, and the reason codes in it. Needs nothing of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from deadpan.core.errors import PolicyError
from deadpan.core.people_files import UnreadableFileError, read_text, toml_of

ReasonCodes = Mapping[str, str]
"""What moderators choose a reason from: words for people by code, in the order of the file."""

SHIPPED: Final = "default_policy.toml"
MAX_WORDS_CHARACTERS: Final = 80
_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def read_policy(path: str = "") -> Mapping[str, Any]:
    """Read a policy's TOML file, unchecked; without a path the policy that ships with Deadpan."""
    return policy_of(policy_text(path), shown=path)


def policy_text(path: str = "") -> str:
    """A policy's file as it is written, unchecked; without a path the policy that ships."""
    try:
        if not path:
            return (resources.files("tasks.policy") / SHIPPED).read_text(encoding="utf-8")
        return read_text(Path(path))
    except UnreadableFileError as error:
        raise _unreadable(path, error) from None


def policy_of(text: str, *, shown: str = "") -> Mapping[str, Any]:
    """A policy's TOML, unchecked."""
    try:
        return toml_of(text)
    except UnreadableFileError as error:
        raise _unreadable(shown, error) from None


def _unreadable(path: str, error: UnreadableFileError) -> PolicyError:
    return PolicyError(
        f"policy {path} {error}; set DEADPAN_POLICY to a TOML file, "
        "or unset it to use the policy that ships with Deadpan"
    )


def read_reason_codes(path: str = "") -> ReasonCodes:
    """The reason codes of a policy, or of the policy that ships where it has none.

    Raises PolicyError with everything that is wrong with them.
    """
    data = read_policy(path)
    if "reason_codes" not in data:
        data = read_policy()
    codes, problems = parse_reason_codes(data["reason_codes"], shown=path or SHIPPED)
    if problems:
        raise PolicyError(problems)
    return codes


def parse_reason_codes(given: Any, *, shown: str) -> tuple[ReasonCodes, list[str]]:
    """Check `[reason_codes]`: gives the usable codes, and what is wrong with the others."""
    if not isinstance(given, dict) or not given:
        return {}, [
            f"{shown}: write reason_codes as a table [reason_codes] with lines such as "
            'hate = "Hate speech", or leave it out to use those that ship with Deadpan'
        ]
    codes, problems = {}, []
    for code, words in given.items():
        if not _CODE.fullmatch(code):
            problems.append(
                f"{shown}: reason code {code[:80]!r} must be at most 64 lower-case letters, "
                "digits, - and _"
            )
        elif (
            not isinstance(words, str)
            or not 0 < len(words.strip()) <= MAX_WORDS_CHARACTERS
            or not words.isprintable()
        ):
            problems.append(
                f"{shown}: reason code {code!r} is {str(words)[:80]!r}; "
                f"give it a label for people, at most {MAX_WORDS_CHARACTERS} characters"
            )
        else:
            codes[code] = words.strip()
    return codes, problems
