"""Are promises kept, and when is the backlog worked off at the pace of the last day?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, select

from storage import tables
from storage.flags import worklist

#: A day holds every shift, in whatever time zone.
PACE_HOURS: Final = 24.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What waits in a queue, and how fast it was worked through.

    Attributes:
        waiting: flags that are open, claimed or escalated.
        overdue: of those, how many should have been decided before now.
        opened, decided: flags in the last `hours`; a decision that was undone is none.
        hours: over which those were counted: 24, or since the first flag, but at least 1.
        kept, promised: of the flags in `decided` to which a time was promised, how many were in
            time; and how many these are.
    """

    queue: str
    waiting: int
    overdue: int
    opened: int
    decided: int
    hours: float
    kept: int
    promised: int

    @property
    def clears_in_seconds(self) -> float | None:
        """How long what waits takes at this pace if nothing new comes; None where nothing was
        decided. It says nothing of who works tonight.
        """
        if not self.waiting:
            return 0.0
        return self.waiting / self.decided * self.hours * 3600 if self.decided else None


def overdue(connection: Connection, *, now: datetime) -> Mapping[str, int]:
    """Counts waiting flags whose time is up, by queue; a queue with none is left out."""
    columns = tables.flags.c
    rows = connection.execute(
        select(columns.queue, func.count())
        .where(columns.state.in_(tables.UNCLOSED_STATES), columns.due_at <= now)
        .group_by(columns.queue)
        .order_by(columns.queue)
    )
    return {queue: int(number) for queue, number in rows}


def forecast(connection: Connection, *, now: datetime) -> list[Forecast]:
    """Returns a forecast of each queue in which anything waits or happened in the last day."""
    columns = tables.flags.c
    first = connection.execute(select(func.min(columns.opened_at))).scalar()
    age = PACE_HOURS if first is None else (now - first).total_seconds() / 3600
    hours = min(PACE_HOURS, max(1.0, age))
    since = now - timedelta(hours=hours)
    waiting = {
        queue: sum(states.values()) for queue, states in worklist.waiting(connection).items()
    }
    late = overdue(connection, now=now)

    def by_queue(*counted: Any, where: list[Any]) -> dict[str, tuple[int, ...]]:
        found = select(columns.queue, *counted).where(*where).group_by(columns.queue)
        return {row[0]: tuple(map(int, row[1:])) for row in connection.execute(found)}

    opened = by_queue(func.count(), where=[columns.opened_at > since])
    decided = by_queue(
        func.count(),
        func.count().filter(columns.closed_at <= columns.due_at),
        func.count(columns.due_at),
        where=[columns.closed_at > since, columns.outcome.is_not(None)],
    )
    found = []
    for queue in sorted({*waiting, *opened, *decided}):
        done, kept, promised = decided.get(queue, (0, 0, 0))
        number = opened.get(queue, (0,))[0]
        found.append(
            Forecast(
                queue=queue,
                waiting=waiting.get(queue, 0),
                overdue=late.get(queue, 0),
                opened=number,
                decided=done,
                hours=hours,
                kept=kept,
                promised=promised,
            )
        )
    return found
