"""Reports on the flags and decisions of the last days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, and_, case, func, select, true

from storage import tables
from storage.flags.decided import is_undone
from storage.reports.statistics import wilson
from storage.tables import decisions, moderators

#: Upper ends, in seconds, of the groups in which waiting times are counted.
WAITS: Final = (60, 600, 3600, 8 * 3600, 86_400, 3 * 86_400)


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the decided flags of a rule, how many a moderator removed, with Wilson's 95 % interval."""

    rule: str
    upheld: int
    decided: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Load:
    """What a moderator did and did not undo.

    Attributes:
        decided: approvals and removals, including those that end an appeal.
        mean_seconds: of the decisions in `decided` whose time is known.
    """

    moderator: str
    decided: int
    escalated: int
    skipped: int
    mean_seconds: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """Flags opened and decided on a day (UTC)."""

    day: datetime
    opened: int
    decided: int


def _decided(since: datetime) -> ColumnElement[bool]:
    """Flags that a moderator decided. An erasure closes flags too, but without an outcome."""
    flags = tables.flags.c
    return and_(flags.state == "decided", flags.outcome.is_not(None), flags.closed_at >= since)


def precision(connection: Connection, *, since: datetime) -> list[Precision]:
    """Returns the precision of each rule over flags that were decided since then."""
    flags = tables.flags.c
    rule: ColumnElement[Any]
    if connection.dialect.name == "postgresql":
        each = func.jsonb_array_elements(flags.reasons).table_valued("value").alias("reason")
        rule = each.c.value.op("->>")("rule")
    else:
        each = func.json_each(flags.reasons).table_valued("value").alias("reason")
        rule = func.json_extract(each.c.value, "$.rule", type_=String)
    name = rule.label("rule")
    upheld = func.sum(case((flags.outcome == "remove", 1), else_=0))
    statement = (
        select(name, func.count(), upheld)
        .select_from(tables.flags.join(each, true()))
        .where(_decided(since))
        .group_by(name)
        .order_by(name)
    )
    found = []
    for label, decided, removed in connection.execute(statement):
        low, high = wilson(int(removed), int(decided))
        found.append(
            Precision(str(label), int(removed), int(decided), int(removed) / decided, low, high)
        )
    return found


def waits(connection: Connection, *, since: datetime) -> list[int]:
    """Counts decided flags by how long they waited, in the groups of `WAITS` and one above."""
    flags = tables.flags.c
    seconds: ColumnElement[Any]
    if connection.dialect.name == "postgresql":
        seconds = func.extract("epoch", flags.closed_at - flags.opened_at)
    else:
        days = func.julianday(flags.closed_at) - func.julianday(flags.opened_at)
        seconds = func.round(days * 86_400, 3)  # a day in parts, with an error of 0.00004 s
    longer = [func.count().filter(seconds > end) for end in WAITS]
    row = connection.execute(select(func.count(), *longer).where(_decided(since))).one()
    ends = [int(number) for number in (*row, 0)]
    return [more - fewer for more, fewer in pairwise(ends)]


def loads(connection: Connection, *, since: datetime) -> list[Load]:
    """Returns what each moderator did and did not undo, the busiest first."""
    action = decisions.c.action

    def number(*actions: str) -> Any:
        return func.sum(case((action.in_(actions), 1), else_=0))

    statement = (
        select(
            moderators.c.name,
            number("approve", "remove").label("decided"),
            number("escalate"),
            number("skip"),
            func.avg(case((action.in_(("approve", "remove")), decisions.c.seconds_taken))),
        )
        .join(moderators, moderators.c.id == decisions.c.moderator_id)
        .where(decisions.c.created_at >= since, action != "undo", ~is_undone())
        .group_by(moderators.c.name)
        .order_by(number("approve", "remove").desc(), moderators.c.name)
    )
    return [
        Load(name, int(done), int(asked), int(left), None if mean is None else float(mean))
        for name, done, asked, left, mean in connection.execute(statement)
    ]


def days(connection: Connection, *, until: datetime, number: int = 14) -> Sequence[Day]:
    """Counts flags opened and decided on each of the last days; `until` is in the last one."""
    flags = tables.flags.c
    last = until.replace(hour=0, minute=0, second=0, microsecond=0)

    def on(column: ColumnElement[datetime], day: datetime, *only: ColumnElement[bool]) -> int:
        within = (column >= day, column < day + timedelta(days=1))
        return int(connection.execute(select(func.count()).where(*within, *only)).scalar_one())

    return [
        Day(day, on(flags.opened_at, day), on(flags.closed_at, day, flags.outcome.is_not(None)))
        for day in (last - timedelta(days=back) for back in reversed(range(number)))
    ]
