"""Whom Deadpan tells of what needs people: overdue flags, dead letters, a source that is down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo

from pydantic import SecretStr, field_validator

from deadpan.core.settings.kinds import Group

_HOURS = re.compile(r"([0-2][0-9]:[0-5][0-9])-([0-2][0-9]:[0-5][0-9])(?:\s+(\S+))?", re.ASCII)
_FORM = "write it as 22:00-07:00 Europe/Berlin (without a zone it is UTC)"


class Notifications(Group):
    """Where notifications go, and when they wait."""

    notify_urls: SecretStr | None = None
    """Where notifications go: URLs of Apprise, separated by spaces (extra `notify`). Empty turns
    them off. A URL may hold a password or token, so this is never shown."""
    notify_quiet_hours: str = ""
    """When notifications wait, such as 22:00-07:00 Europe/Berlin; UTC without a zone. What is over
    by then is not told."""

    @field_validator("notify_quiet_hours")
    @classmethod
    def _readable(cls, value: str) -> str:
        quiet_hours(value)
        return value


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of each day, by the clock on a wall; it may hold midnight."""

    start: time
    end: time
    zone: tzinfo

    def hold(self, moment: datetime) -> bool:
        """Whether a moment, aware, is within them; `end` is not."""
        clock = moment.astimezone(self.zone).time()
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


def quiet_hours(given: str) -> QuietHours | None:
    """Read the setting; None if it is empty.

    Raises:
        ValueError: it cannot be read, with the remedy.
    """
    if not given:
        return None
    match = _HOURS.fullmatch(given.strip())
    if match is None:
        raise ValueError(_FORM)
    try:
        start, end = time.fromisoformat(match[1]), time.fromisoformat(match[2])
    except ValueError:
        raise ValueError(f"hours go from 00:00 to 23:59; {_FORM}") from None
    if start == end:
        raise ValueError(f"it begins when it ends; {_FORM}")
    name = match[3] or "UTC"
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"time zone {name!r} is not known here; name one of the IANA database, such as "
            "Europe/Berlin, and install its data (the package tzdata) where the system has none"
        ) from None
    return QuietHours(start, end, zone)


def notify_urls(value: SecretStr | None) -> tuple[str, ...]:
    """The URLs of the setting, in their order."""
    return tuple(value.get_secret_value().split()) if value else ()
