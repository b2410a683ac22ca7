"""Reports on the flags and decisions of the last days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, and_, case, func, select, true

from storage import tables
from storage.flags.decided import is_undone
from storage.people.exposures import NEGATIVE
from storage.reports.forecast import hour_of
from storage.reports.statistics import Share, wilson
from storage.tables import decisions, moderators, review_votes, reviews, verdicts

#: Upper ends, in seconds, of the groups in which waiting times are counted.
WAITS: Final = (60, 600, 3600, 8 * 3600, 86_400, 3 * 86_400)
#: In less time, in seconds, nobody reads a post.
QUICK_SECONDS: Final = 1.0
_SHOWN: Final = 5


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
class Decided:
    """Flags that were decided.

    Attributes:
        waits: how many by how long they had waited, in the groups of `WAITS` and one above.
        removed: of those that a rule opened, how many were removed.
        kept: of those to which a time was promised, how many were decided in time.
    """

    waits: Sequence[int]
    removed: Share
    kept: Share

    @property
    def flags(self) -> int:
        """All of them."""
        return sum(self.waits)


@dataclass(frozen=True, slots=True)
class Appeals:
    """How many appeals overturned a decision, and the flags of the last that did."""

    overturned: Share
    flags: Sequence[int]


@dataclass(frozen=True, slots=True)
class Load:
    """What a moderator did and did not undo.

    Attributes:
        decided: approvals and removals, including those that end an appeal.
        mean_seconds: of the decisions in `decided` whose time is known.
        hours: of the clock in which they decided something.
        quick: decisions that took less than `QUICK_SECONDS`, without those of a batch.
        negative: negative posts among `decided`.
        hardest_hour: the most of them in an hour of the clock.
    """

    moderator: str
    decided: int
    escalated: int
    skipped: int
    mean_seconds: float | None
    hours: int
    quick: int
    negative: int
    hardest_hour: int


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


def decided(connection: Connection, *, since: datetime) -> Decided:
    """Returns what is known of the flags that were decided since then."""
    flags = tables.flags.c
    seconds: ColumnElement[Any]
    if connection.dialect.name == "postgresql":
        seconds = func.extract("epoch", flags.closed_at - flags.opened_at)
    else:
        days = func.julianday(flags.closed_at) - func.julianday(flags.opened_at)
        seconds = func.round(days * 86_400, 3)  # a day in parts, with an error of 0.00004 s
    of_rules = flags.inclusion.is_(None)
    counts = [
        func.count().filter(of_rules, flags.outcome == "remove"),
        func.count().filter(of_rules),
        func.count().filter(flags.closed_at <= flags.due_at),
        func.count(flags.due_at),
        func.count(),
        *(func.count().filter(seconds > end) for end in WAITS),
    ]
    row = connection.execute(select(*counts).where(_decided(since))).one()
    removed, of, kept, promised, *ends = map(int, row)
    waits = [more - fewer for more, fewer in pairwise((*ends, 0))]
    return Decided(waits, Share.of(removed, of), Share.of(kept, promised))


def appeals(connection: Connection, *, since: datetime) -> Appeals:
    """Returns how appeals ended since then."""
    votes = review_votes.c
    rows = connection.execute(
        select(reviews.c.flag_id, votes.action != reviews.c.expected)
        .join(reviews, reviews.c.id == votes.review_id)
        .where(votes.created_at >= since, votes.decision_id.is_not(None))
        .order_by(votes.id.desc())
    ).all()
    overturned = [number for number, differs in rows if differs]
    return Appeals(Share.of(len(overturned), len(rows)), list(dict.fromkeys(overturned))[:_SHOWN])


def _is_quick() -> ColumnElement[bool]:
    made = decisions.c
    return and_(
        made.action.in_(("approve", "remove")),
        made.seconds_taken < QUICK_SECONDS,
        made.batch.is_(None),
    )


def loads(connection: Connection, *, since: datetime) -> list[Load]:
    """Returns what each moderator did and did not undo, the busiest first."""
    made = decisions.c
    closes = made.action.in_(("approve", "remove"))
    hour = hour_of(connection, made.created_at).label("hour")
    each = (
        select(
            made.moderator_id,
            hour,
            func.count().filter(closes).label("decided"),
            func.count().filter(made.action == "escalate").label("escalated"),
            func.count().filter(made.action == "skip").label("skipped"),
            func.sum(made.seconds_taken).filter(closes).label("seconds"),
            func.count(made.seconds_taken).filter(closes).label("timed"),
            func.count().filter(_is_quick()).label("quick"),
            func.count().filter(closes, verdicts.c.negative >= NEGATIVE).label("negative"),
        )
        .join(verdicts, verdicts.c.id == made.verdict_id)
        .where(made.created_at >= since, made.action != "undo", ~is_undone())
        .group_by(made.moderator_id, hour)
        .subquery()
    )
    sums = {
        name: func.sum(each.c[name])
        for name in ("decided", "escalated", "skipped", "seconds", "timed", "quick", "negative")
    }
    rows = connection.execute(
        select(
            moderators.c.name,
            func.count().filter(each.c.decided > 0),
            func.max(each.c.negative),
            *sums.values(),
        )
        .join(moderators, moderators.c.id == each.c.moderator_id)
        .group_by(moderators.c.name)
        .order_by(sums["decided"].desc(), moderators.c.name)
    )
    found = []
    for name, hours, hardest, done, asked, left, seconds, timed, quick, negative in rows:
        average = float(seconds) / int(timed) if timed else None
        counts = map(int, (hours, quick, negative, hardest))
        found.append(Load(name, int(done), int(asked), int(left), average, *counts))
    return found


def quick_flags(connection: Connection, *, since: datetime) -> list[int]:
    """Returns flags of the last decisions that took less than `QUICK_SECONDS`."""
    made = decisions.c
    rows = connection.execute(
        select(made.flag_id)
        .where(made.created_at >= since, _is_quick(), ~is_undone())
        .order_by(made.id.desc())
        .limit(_SHOWN)
    )
    return list(dict.fromkeys(rows.scalars()))
