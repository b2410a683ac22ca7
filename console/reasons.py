"""Why a moderator decided as they did, as a list to choose from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from deadpan.errors import ConfigurationError, SettingsError

ReasonCodes = Mapping[str, str]
"""Words for people by code, in the order in which they are shown."""

OWN: Final[ReasonCodes] = {
    "harassment": "Harassment or bullying",
    "hate": "Hate speech",
    "violence": "Violence or threats",
    "self-harm": "Self-harm or suicide",
    "sexual": "Sexual content",
    "misinformation": "False or misleading",
    "spam": "Spam or fraud",
    "misread": "The model misread it",
    "other": "Something else",
}
"""Used where `DEADPAN_REASON_CODES` is empty."""

NEED_A_REASON: Final = ("remove", "escalate")
_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def parse(given: Sequence[str]) -> ReasonCodes:
    """Reads the setting: `code:Words` each, or the code alone.

    Raises:
        SettingsError: with every entry that is none.
    """
    if not given:
        return OWN
    codes: dict[str, str] = {}
    problems = []
    for entry in given:
        code, _, words = entry.partition(":")
        if not _CODE.fullmatch(code.strip()):
            problems.append(
                f"DEADPAN_REASON_CODES: {code.strip()[:80]!r} is no code; "
                "use at most 64 lower-case letters, digits, - and _"
            )
        codes[code.strip()] = words.strip() or code.strip().replace("-", " ").capitalize()
    if problems:
        raise SettingsError(problems)
    return codes


def check(codes: ReasonCodes, action: str, code: str | None) -> str | None:
    """Gives the code of a decision.

    Raises:
        ConfigurationError: it is unknown, or the action needs one.
    """
    if not code:
        if action in NEED_A_REASON:
            raise ConfigurationError(f"choose a reason: to {action} needs one")
        return None
    if code not in codes:
        raise ConfigurationError(f"reason {code[:80]!r} is unknown; known are {', '.join(codes)}")
    return code
