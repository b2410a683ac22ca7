"""Lists of flags as moderators and programs read them: filtered, in pages, without scanning."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, and_, func, or_, select

from deadpan.errors import NotFound
from storage import tables
from storage.queries import FLAG_COLUMNS, Flag, FlagPosition, Verdict
from storage.text import MAX_RULE_CHARACTERS, clean_text, primary_language, search_form

#: A search for a text looks at so many flags of a state and then says where it stopped.
SEARCHED_AT_ONCE: Final = 20_000
_MAX_WORDS: Final = 8
#: So many flags of a rule are rather looked up one by one than met on the way through the list.
_FEW: Final = 500
_ORDER: Final = [tables.flags.c.priority.desc(), tables.flags.c.opened_at, tables.flags.c.id]


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
        language: written in this one, `de` or `pt-BR`; `und` for those of which none is known.
        words: with all of these words, or parts of words, in what was posted; in a form of
            `storage.text.search_form` or not.
    """

    states: Collection[str] = tables.UNCLOSED_STATES
    queue: str | None = None
    rule: str | None = None
    author: str | None = None
    post_id: str | None = None
    negative: float | None = None
    sarcasm: float | None = None
    opened_before: datetime | None = None
    words: str | None = None
    language: str | None = None


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
    states = sorted(set(wanted.states))
    if wanted.words is None:
        conditions = _conditions(connection, wanted, tables.flags)
        parts = [_walk(connection, state, conditions, limit, after) for state in states]
    else:
        parts = [iter(_search(connection, state, wanted, limit, after)) for state in states]
    merged = heapq.merge(*parts, key=lambda flag: _order(flag.position))
    end = searched_until(connection, wanted, after=after)
    if end is not None:
        merged = (flag for flag in merged if _order(flag.position) <= _order(end))
    return [flag for flag, _ in zip(merged, range(limit), strict=False)]


def searched_until(
    connection: Connection, wanted: Filter, *, after: FlagPosition | None = None
) -> FlagPosition | None:
    """Gives where `page` stops to look for a text, to be given as `after` to look on; None when it
    looks at all there is.

    A text that few or no flags have would otherwise be looked for in every one of them.
    """
    if wanted.words is None:
        return None
    columns = tables.flags.c
    ends = []
    for state in sorted(set(wanted.states)):
        last = (
            select(columns.priority, columns.opened_at, columns.id)
            .where(columns.state == state, *_after(after))
            .order_by(*_ORDER)
            .offset(SEARCHED_AT_ONCE)
            .limit(1)
        )
        if (row := connection.execute(last).one_or_none()) is not None:
            ends.append(FlagPosition(*row))
    return min(ends, key=_order, default=None)


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


def _order(position: FlagPosition) -> tuple[int, datetime, int]:
    return (-position.priority, position.opened_at, position.id)


def _after(position: FlagPosition | None) -> list[ColumnElement[bool]]:
    if position is None:
        return []
    columns = tables.flags.c
    later = or_(
        columns.opened_at > position.opened_at,
        and_(columns.opened_at == position.opened_at, columns.id > position.id),
    )
    # The first is what an index takes; the second says it exactly.
    return [
        columns.priority <= position.priority,
        or_(columns.priority < position.priority, later),
    ]


def _search(
    connection: Connection,
    state: str,
    wanted: Filter,
    limit: int,
    after: FlagPosition | None,
) -> list[Flag]:
    # As a table of its own, and not as ids of which a flag has to be one: for that PostgreSQL may
    # choose to compare every flag with every id (36 s where many had the words).
    looked_at = (
        select(tables.flags)
        .where(tables.flags.c.state == state, *_after(after))
        .order_by(*_ORDER)
        .limit(SEARCHED_AT_ONCE + 1)  # with the one where the next search begins behind
        .subquery("looked_at")
    )
    columns = looked_at.c
    order = (columns.priority.desc(), columns.opened_at, columns.id)
    conditions = _conditions(connection, wanted, looked_at)
    found = select(columns.id).where(*conditions).order_by(*order).limit(limit)
    numbers = connection.execute(found).scalars().all()
    return _read(connection, [tables.flags.c.id.in_(numbers)], _ORDER, limit)


def _walk(
    connection: Connection,
    state: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    after: FlagPosition | None,
) -> Iterator[Flag]:
    columns, order = tables.flags.c, _ORDER
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


def _conditions(
    connection: Connection, wanted: Filter, source: FromClause
) -> list[ColumnElement[bool]]:
    columns = source.c
    equal = [
        column == value
        for column, value in (
            (columns.queue, wanted.queue),
            (columns.author, wanted.author),
            (columns.post_id, wanted.post_id),
        )
        if value is not None
    ]
    if wanted.language is not None:
        equal.append(columns.language == primary_language(wanted.language))
    if wanted.negative is not None:
        equal.append(columns.negative >= wanted.negative)
    if wanted.sarcasm is not None:
        equal.append(columns.sarcasm >= wanted.sarcasm)
    if wanted.opened_before is not None:
        equal.append(columns.opened_at < wanted.opened_before)
    if wanted.rule is not None:
        equal.append(_has_rule(connection, wanted.rule, columns.id))
    if wanted.words is not None:
        words = search_form(wanted.words).split()[:_MAX_WORDS]
        equal += [columns.search_text.contains(word, autoescape=True) for word in words]
    return equal


def _has_rule(
    connection: Connection, rule: str, flag_id: ColumnElement[int]
) -> ColumnElement[bool]:
    columns = tables.flag_rules.c
    rule = clean_text(rule, MAX_RULE_CHARACTERS)
    of_rule = select(columns.flag_id).where(columns.rule == rule)
    few = list(connection.execute(of_rule.limit(_FEW + 1)).scalars())
    if len(few) <= _FEW:
        return flag_id.in_(few)
    # What many flags have is soon found on the way through the list.
    return of_rule.where(columns.flag_id == flag_id).exists()


def _read(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    order: list[Any],
    limit: int,
) -> list[Flag]:
    # The page first and its verdicts then: as one join, PostgreSQL may join them all and sort.
    found = select(*FLAG_COLUMNS).where(*conditions).order_by(*order).limit(limit)
    rows = connection.execute(found).all()
    numbers = [row.verdict_id for row in rows]
    verdicts = {
        row.id: Verdict(**row._mapping)
        for row in connection.execute(
            select(tables.verdicts).where(tables.verdicts.c.id.in_(numbers))
        )
    }
    return [Flag(**row._mapping, verdict=verdicts[row.verdict_id]) for row in rows]
