"""Flags opened and decided by the hour, and what waits in the next day if it goes on like this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, cast, func, select

from storage import tables

#: Hours that a forecast reaches: a day has every shift, in whatever time zone.
AHEAD: Final = 24
_WEEK, _DAY = 168, 24
#: So many past weeks say how the next day goes; where there is none yet, so many past days.
_WEEKS, _DAYS = 4, 6
#: How far back hours are counted.
COUNTED: Final = timedelta(hours=_WEEKS * _WEEK + 1)


@dataclass(frozen=True, slots=True)
class Day:
    """Flags opened and decided on a day (UTC)."""

    day: datetime
    opened: int
    decided: int


@dataclass(frozen=True, slots=True)
class Hours:
    """Flags opened and decided by hour, which are numbered since 1970 in UTC; an erasure decides
    nothing.

    Attributes:
        first: when the first flag of all was opened; None where there is none.
    """

    opened: Mapping[int, int]
    decided: Mapping[int, int]
    first: datetime | None

    def days(self, *, until: datetime, number: int = 14) -> list[Day]:
        """Those of the last days; `until` is in the last one."""
        opened, decided = (self._by_day(each) for each in (self.opened, self.decided))
        last = int(until.timestamp()) // 86_400
        return [
            Day(datetime.fromtimestamp(day * 86_400, UTC), opened[day], decided[day])
            for day in range(last - number + 1, last + 1)
        ]

    @staticmethod
    def _by_day(hours: Mapping[int, int]) -> Counter[int]:
        found = Counter[int]()
        for hour, flags in hours.items():
            found[hour // 24] += flags
        return found


@dataclass(frozen=True, slots=True)
class Step:
    """What waits at a moment to come: the median of what it was like before, and its range."""

    at: datetime
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What waits in the next day, if it goes like the same hours of the last weeks or days.

    Attributes:
        weeks, days: of how many of them; one of both is 0.
        steps: at the end of each hour.
        empty_at: when nothing waits any more in most of them; None if that is later.
    """

    weeks: int
    days: int
    steps: Sequence[Step]
    empty_at: datetime | None

    @property
    def last(self) -> Step:
        """The end of the day."""
        return self.steps[-1]


def hour_of(connection: Connection, moment: ColumnElement[datetime]) -> ColumnElement[int]:
    """The hour of a moment, numbered since 1970 in UTC, as both databases say it."""
    seconds: ColumnElement[Any]
    if connection.dialect.name == "postgresql":
        seconds = func.floor(func.extract("epoch", moment) / 3600)
        return cast(seconds, Integer)
    return cast(func.strftime("%s", moment), Integer) // 3600


def hours(connection: Connection, *, since: datetime) -> Hours:
    """Counts flags by the hours in which they were opened and decided, since the whole hour."""
    flags = tables.flags.c
    start = since.replace(minute=0, second=0, microsecond=0)

    def by_hour(moment: Any, *only: ColumnElement[bool]) -> dict[int, int]:
        hour = hour_of(connection, moment).label("hour")
        rows = connection.execute(
            select(hour, func.count()).where(moment >= start, *only).group_by(hour)
        )
        return {int(number): int(count) for number, count in rows}

    return Hours(
        by_hour(flags.opened_at),
        by_hour(flags.closed_at, flags.outcome.is_not(None)),
        connection.execute(select(func.min(flags.opened_at))).scalar(),
    )


def outlook(counted: Hours, *, waiting: int, now: datetime) -> Outlook | None:
    """What waits in the next day; None where not even one day has passed yet.

    The same hours of each of the last weeks (of each of the last days, until a week has passed) are
    played from what waits now: what came is added, what was decided is taken away, and a queue that
    is empty stays so until something comes. Who had nothing to decide may have been able to decide
    more, so it rather errs on the side of too much. Few weeks say little of how far it may be off:
    low and high are the least and the most that one of them would have led to.
    """
    if counted.first is None:
        return None
    this_hour, first = int(now.timestamp()) // 3600, int(counted.first.timestamp()) // 3600 + 1
    weeks = sum(this_hour - _WEEK * back >= first for back in range(1, _WEEKS + 1))
    days = 0 if weeks else sum(this_hour - _DAY * back >= first for back in range(1, _DAYS + 1))
    length = _WEEK if weeks else _DAY
    if not weeks and not days:
        return None
    left = 1 - now.timestamp() % 3600 / 3600  # of this hour
    runs = [
        _run(counted, this_hour - length * back, waiting, left)
        for back in range(1, (weeks or days) + 1)
    ]
    begins = datetime.fromtimestamp(this_hour * 3600, UTC)
    steps = [
        Step(begins + timedelta(hours=number + 1), median(after), min(after), max(after))
        for number, after in enumerate(zip(*runs, strict=True))
    ]
    empty = next((step.at for step in steps if step.expected < 0.5), None)
    return Outlook(weeks, days, steps, empty)


def _run(counted: Hours, first: int, waiting: float, left: float) -> list[float]:
    """What waits at the end of each hour if they are like those that begin with `first`."""
    found = []
    for number in range(AHEAD):
        share = left if number == 0 else 1.0
        more = counted.opened.get(first + number, 0) - counted.decided.get(first + number, 0)
        waiting = max(0.0, waiting + share * more)
        found.append(waiting)
    return found
