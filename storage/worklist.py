"""Lists of flags as moderators and programs read them: filtered, in pages, without scanning."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB

from deadpan.errors import NotFound
from storage import tables
from storage.queries import Flag, FlagPosition, Verdict


@dataclass(frozen=True, slots=True)
class Filter:
    """Which flags.

    Args:
        states: in one of these.
        queue: in this one.
        rule: flagged by this rule, among others.
        author: of this author.
        post_id: of this post.
        negative: at least so negative.
        sarcasm: at least so sarcastic.
        opened_before: waiting since before then.
    """

    states: Collection[str] = tables.UNCLOSED_STATES
    queue: str | None = None
    rule: str | None = None
    author: str | None = None
    post_id: str | None = None
    negative: float | None = None
    sarcasm: float | None = None
    opened_before: datetime | None = None


def page(
    connection: Connection, wanted: Filter, *, limit: int, after: FlagPosition | None = None
) -> list[Flag]:
    """Gives flags, highest priority first, then the oldest.

    Every state is read for itself, and of each first what has the priority of `after`, so that both
    databases walk an index in its own order and stop when the page is full.

    Args:
        limit: at most so many.
        after: the position of the last flag seen.
    """
    conditions = _conditions(connection, wanted)
    parts = [
        _walk(connection, state, conditions, limit, after) for state in sorted(set(wanted.states))
    ]

    def order(flag: Flag) -> tuple[int, datetime, int]:
        return (-flag.priority, flag.opened_at, flag.id)

    merged = heapq.merge(*parts, key=order)
    return [flag for flag, _ in zip(merged, range(limit), strict=False)]


def one(connection: Connection, flag_id: int) -> Flag:
    """Gives a flag in any state.

    Raises:
        NotFound: there is none of this id.
    """
    found = _read(connection, [tables.flags.c.id == flag_id], [], 1)
    if not found:
        raise NotFound(f"there is no flag {flag_id}")
    return found[0]


def many(connection: Connection, flag_ids: Collection[int]) -> list[Flag]:
    """Gives flags by id, those that there are."""
    conditions: list[ColumnElement[bool]] = [tables.flags.c.id.in_(flag_ids)]
    return _read(connection, conditions, [tables.flags.c.id], len(flag_ids))


def of_author(
    connection: Connection, author: str, *, limit: int, before_id: int | None = None
) -> list[Flag]:
    """Gives the flags of an author in any state, newest first."""
    columns = tables.flags.c
    conditions: list[ColumnElement[bool]] = [columns.author == author]
    if before_id is not None:
        conditions.append(columns.id < before_id)
    return _read(connection, conditions, [columns.id.desc()], limit)


def of_post(connection: Connection, post_id: str, *, limit: int) -> list[Flag]:
    """Gives the flags of a post in any state, newest first."""
    columns = tables.flags.c
    return _read(connection, [columns.post_id == post_id], [columns.id.desc()], limit)


def waiting(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """Counts what waits: by queue, and of each by state. One pass over an index."""
    columns = tables.flags.c
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        select(columns.queue, columns.state, func.count())
        .where(columns.state.in_(tables.UNCLOSED_STATES))
        .group_by(columns.queue, columns.state)
    )
    for queue, state, number in rows:
        found.setdefault(queue, dict.fromkeys(tables.UNCLOSED_STATES, 0))[state] = number
    return dict(sorted(found.items()))


def oldest(connection: Connection) -> datetime | None:
    """Gives since when the oldest flag waits."""
    columns = tables.flags.c
    found: datetime | None = connection.execute(
        select(func.min(columns.opened_at)).where(columns.state.in_(tables.UNCLOSED_STATES))
    ).scalar_one()
    return found


def _walk(
    connection: Connection,
    state: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    after: FlagPosition | None,
) -> Iterator[Flag]:
    columns = tables.flags.c
    order = [columns.priority.desc(), columns.opened_at, columns.id]
    base = [columns.state == state, *conditions]
    if after is None:
        yield from _read(connection, base, order, limit)
        return
    same = [
        columns.priority == after.priority,
        columns.opened_at >= after.opened_at,
        or_(columns.opened_at > after.opened_at, columns.id > after.id),
    ]
    found = _read(connection, base + same, order, limit)
    yield from found
    if len(found) < limit:
        rest = [columns.priority < after.priority]
        yield from _read(connection, base + rest, order, limit - len(found))


def _conditions(connection: Connection, wanted: Filter) -> list[ColumnElement[bool]]:
    columns = tables.flags.c
    equal = [
        column == value
        for column, value in (
            (columns.queue, wanted.queue),
            (columns.author, wanted.author),
            (columns.post_id, wanted.post_id),
        )
        if value is not None
    ]
    if wanted.negative is not None:
        equal.append(columns.negative >= wanted.negative)
    if wanted.sarcasm is not None:
        equal.append(columns.sarcasm >= wanted.sarcasm)
    if wanted.opened_before is not None:
        equal.append(columns.opened_at < wanted.opened_before)
    if wanted.rule is not None:
        equal.append(_has_rule(connection, wanted.rule))
    return equal


def _has_rule(connection: Connection, rule: str) -> ColumnElement[bool]:
    reasons = tables.flags.c.reasons
    if connection.dialect.name == "postgresql":
        return cast(reasons, JSONB).contains([{"rule": rule}])
    each = func.json_each(reasons).table_valued("value").alias("reason")
    name = func.json_extract(each.c.value, "$.rule", type_=String)
    return select(true()).select_from(each).where(and_(name == rule)).exists()


def _read(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    order: list[Any],
    limit: int,
) -> list[Flag]:
    # The page first and its verdicts then: as one join, PostgreSQL may join them all and sort.
    found = select(tables.flags).where(*conditions).order_by(*order).limit(limit)
    rows = connection.execute(found).all()
    numbers = [row.verdict_id for row in rows]
    verdicts = {
        row.id: Verdict(**row._mapping)
        for row in connection.execute(
            select(tables.verdicts).where(tables.verdicts.c.id.in_(numbers))
        )
    }
    return [Flag(**row._mapping, verdict=verdicts[row.verdict_id]) for row in rows]
