"""Whether an answer asks to be left alone for a while, in the dialects that platforms speak.

429 with or without Retry-After is the standard (RFC 6585); 503 with Retry-After is as well (RFC
9110). GitHub refuses with 403 and X-RateLimit-Remaining: 0, Twitter used 420, Shopify uses 430,
cPanel 509, and some gateways 529. How long is told by Retry-After, by a RateLimit header of the
IETF's drafts, or by one of its many ancestors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sources.net.transport import MAX_RETRY_AFTER_SECONDS, Response, retry_after_seconds

TOO_MUCH = (420, 429, 430, 509, 529)
"""Statuses that say nothing else."""

_MAY_ASK = (403, 408, 413, 425)
"""Ask for a pause where they say for how long; so does every 5xx."""

_REMAINING = ("RateLimit-Remaining", "X-RateLimit-Remaining", "X-Rate-Limit-Remaining")
_RESET = (
    "X-RateLimit-Reset-After",
    "RateLimit-Reset",
    "X-RateLimit-Reset",
    "X-Rate-Limit-Reset",
)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_NONE_LEFT = re.compile(r"(?:\br|\bremaining)\s*=\s*0+\b", re.ASCII)
_IN_SECONDS = re.compile(r"(?:\bt|\breset)\s*=\s*(\d{1,15})\b", re.ASCII)
_A_YEAR_SECONDS = 31_536_000
_MILLISECONDS = 100_000_000_000
"""From here on a time is in milliseconds since 1970: in seconds it would be the year 5138."""


@dataclass(frozen=True, slots=True)
class Pause:
    """What a source asks for.

    Attributes:
        seconds: 0 to 3600; None where it does not say for how long.
    """

    seconds: float | None


def pause_of(response: Response) -> Pause | None:
    """The pause that an answer asks for, or None where it asks for none."""
    status, headers = response.status, response.headers
    if status not in (*TOO_MUCH, *_MAY_ASK) and status < 500:
        return None
    told_seconds = retry_after_seconds(response)
    if told_seconds is not None:
        return Pause(told_seconds)
    if status in TOO_MUCH or (status == 403 and _is_used_up(headers)):
        return Pause(_reset_seconds(headers))
    return None


def _is_used_up(headers: Mapping[str, str]) -> bool:
    numbers = [_number(headers.get(name)) for name in _REMAINING]
    return 0.0 in numbers or _NONE_LEFT.search(headers.get("RateLimit", "")) is not None


def _reset_seconds(headers: Mapping[str, str]) -> float | None:
    for name in _RESET:
        number = _number(headers.get(name))
        if number is None:
            continue
        if number > _A_YEAR_SECONDS:  # a time since 1970 rather than from now on
            number = number / 1000 if number >= _MILLISECONDS else number
            number = max(0.0, number - time.time())
        return min(number, MAX_RETRY_AFTER_SECONDS)
    found = _IN_SECONDS.search(headers.get("RateLimit", ""))
    return min(float(found[1]), MAX_RETRY_AFTER_SECONDS) if found else None


def _number(value: str | None) -> float | None:
    value = (value or "").strip()
    return float(value) if _NUMBER.fullmatch(value) and value.isascii() else None
