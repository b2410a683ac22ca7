"""Times as platforms write them: RFC 3339, numbers since 1970, RFC 2822 and what languages print.

Anything ambiguous (`01/02/2026`, a zone called `CST`) is rejected: a wrong time would be worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
"""Seconds, milliseconds, microseconds, nanoseconds."""

_EARLIEST, _LATEST = 100_000_000, 4_102_444_800
"""March 1973 and the year 2100, in seconds since 1970. Between them no number could be meant in two
units; a smaller one is a year, a count or an id."""

_LONGEST = 100
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,12})?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{14}", re.ASCII)
_DOTNET = re.compile(r"/Date\((-?[0-9]{1,16})(?:[+-][0-9]{4})?\)/", re.ASCII)
_ZONE = r"(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?)"
_ISO = re.compile(
    r"(?P<date>[0-9]{4}[-/.][0-9]{2}[-/.][0-9]{2})"
    r"(?:(?:T|_|\s+)(?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,](?P<fraction>[0-9]{1,12}))?"
    rf"(?:\s*{_ZONE})?(?:\s(?:UTC|GMT)|\[[^\]]*\]|\s\([^)]*\))?(?:\sm=[+-][0-9.]+)?)?",
    re.ASCII | re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+)?"
_CLOCK = r"(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)(?:\.(?P<fraction>[0-9]{1,12}))?"
_REMARK = r"(?:\s*\([^)]*\))?"
# RFC 2822 and 850, and JSON of Java's HTTP clients: Wed, 27 Aug 2008 13:08:45 +0000
_MAIL = re.compile(
    rf"{_DAY}(?P<day>[0-9]{{1,2}})[\s-]{_MONTH}[\s-](?P<year>[0-9]{{4}}|[0-9]{{2}})\s+{_CLOCK}"
    rf"(?:\s*{_ZONE})?{_REMARK}",
    re.ASCII | re.IGNORECASE,
)
# `date`, asctime, Ruby and Twitter: Wed Aug 27 13:08:45 +0000 2008
_ASCTIME = re.compile(
    rf"{_DAY}{_MONTH}\s+(?P<day>[0-9]{{1,2}})\s+{_CLOCK}(?:\s+{_ZONE})?\s+(?P<year>[0-9]{{4}})",
    re.ASCII | re.IGNORECASE,
)
# JavaScript's Date: Wed Aug 27 2008 13:08:45 GMT+0000 (Coordinated Universal Time)
_SCRIPT = re.compile(
    rf"{_DAY}{_MONTH}\s+(?P<day>[0-9]{{1,2}}),?\s+(?P<year>[0-9]{{4}})\s+{_CLOCK}"
    rf"(?:\s*{_ZONE})?{_REMARK}",
    re.ASCII | re.IGNORECASE,
)


def read_time(value: Any) -> datetime | None:
    """A platform's time in UTC; None if it is not a time, or ambiguous.

    Args:
        value: text, a number since 1970 in seconds, milli-, micro- or nanoseconds (as text, too), a
            datetime or date of a database driver, or an object as MongoDB (`{"$date": …}`) and
            Firestore (`{"seconds": …, "nanoseconds": …}`) write it. Without a zone it is UTC.
    """
    try:
        found = _read(value)
        return None if found is None else _in_utc(found)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _read(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC, as all without a zone
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _since_1970(Decimal(str(value)))
    if isinstance(value, str):
        return _from_text(value.strip()) if len(value) <= _LONGEST else None
    if isinstance(value, Mapping):
        return _from_object(value)
    return None


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _since_1970(number: Decimal) -> datetime | None:
    for unit in _UNITS:
        if _EARLIEST * unit <= number < _LATEST * unit:
            microseconds = int(number * 1_000_000 / unit)
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    if number == int(number) and _DIGITS.fullmatch(str(int(number))):
        return datetime.strptime(str(int(number)), "%Y%m%d%H%M%S")  # noqa: DTZ007 - as above
    return None


def _from_object(value: Mapping[Any, Any]) -> datetime | None:
    for name in ("$date", "$numberLong"):
        if name in value:
            return _read(value[name]) if len(value) == 1 else None
    seconds = value.get("seconds", value.get("_seconds"))
    nanos = value.get("nanoseconds", value.get("_nanoseconds", value.get("nanos", 0)))
    if seconds is None or isinstance(seconds, Mapping) or isinstance(nanos, Mapping):
        return None
    return _since_1970(Decimal(str(seconds)) + Decimal(str(nanos)) / 1_000_000_000)


def _from_text(text: str) -> datetime | None:
    if _NUMBER.fullmatch(text):
        return _since_1970(Decimal(text)) or _from_iso(text)
    if found := _DOTNET.fullmatch(text):
        return _since_1970(Decimal(found[1]))
    if found := _ISO.fullmatch(text):
        year, month, day = (int(part) for part in re.split("[-/.]", found["date"]))
        return _made(found, year, month, day)
    for pattern in (_MAIL, _ASCTIME, _SCRIPT):
        if found := pattern.fullmatch(text):
            year = int(found["year"])
            if len(found["year"]) == 2:
                year += 2000 if year < 70 else 1900
            month = _MONTHS.index(found["month"].lower()) + 1
            return _made(found, year, month, int(found["day"]))
    return _from_iso(text)


def _from_iso(text: str) -> datetime | None:
    """ISO 8601 without separators, by weeks, and what else Python knows."""
    if text.isdigit() and len(text) != len("20260131"):
        return None
    return datetime.fromisoformat(text.upper())


def _made(found: re.Match[str], year: int, month: int, day: int) -> datetime:
    hours, minutes, seconds = [*(int(part) for part in (found["clock"] or "0:0").split(":")), 0][:3]
    whole = datetime(
        year, month, day, hours, minutes, min(seconds, 59), tzinfo=_zone(found["zone"] or "")
    )  # 60 is a leap second
    if seconds > 60:
        raise ValueError("no minute has so many seconds")
    return whole.replace(microsecond=int((found["fraction"] or "0")[:6].ljust(6, "0")))


def _zone(text: str) -> timezone:
    digits = re.sub("[^0-9]", "", text).ljust(6, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return timezone(-offset if "-" in text else offset)
