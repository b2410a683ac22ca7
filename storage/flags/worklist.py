"""Lists of flags as moderators and programs read them: filtered, in pages, without scanning."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, and_, exists, func, or_, select

from deadpan.core.errors import NotFound
from storage import tables
from storage.base.text import MAX_RULE_CHARACTERS, clean_text, primary_language, search_form

#: What no index finds is looked for in so many flags of a state at once.
SEARCHED_AT_ONCE: Final = 20_000
_MAX_WORDS: Final = 8
#: So many flags are rather looked up one by one than met on the way through the list.
_FEW: Final = 500
_SCORES: Final = ("negative", "sarcasm", *tables.OF_WORDS)
_PLACED_BY: Final = ("id", "priority", "rank_at", "opened_at")
_SEARCHED: Final = ("language", "due_at", *_SCORES, "search_text", "blind")


def place(source: FromClause = tables.flags) -> ColumnElement[datetime]:
    """What decides among flags of a priority, the earliest first: the moment of the learned order,
    else when it was opened. Written as the indexes have it.
    """
    return func.coalesce(source.c.rank_at, source.c.opened_at)


#: The order of the list, and in which flags are given out.
ORDER: Final = [tables.flags.c.priority.desc(), place(), tables.flags.c.id]


@dataclass(frozen=True, slots=True)
class FlagPosition:
    """Where a flag stands in the list; given as `after`, the list goes on behind it."""

    priority: int
    place: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Flag(tables.FlagRow):
    """A flag, with the verdict it stands for."""

    verdict: tables.Verdict

    @property
    def position(self) -> FlagPosition:
        """Give it as `after` to read on."""
        return FlagPosition(self.priority, self.rank_at or self.opened_at, self.id)


#: Of a flag, what is read: all but what is only searched in.
_FLAG_COLUMNS: Final = tuple(each for each in tables.flags.c if each.name != "search_text")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which flags; all conditions hold.

    Args:
        rule: flagged by this rule, among others.
        negative, sarcasm, offensive, hateful: at least so probable.
        language: such as `de` or `pt-BR`; `und` for those whose language is unknown.
        words: with all of these words, or parts of words, in what was posted.
        due_before: promised to be decided before then.
        looks: with looks at unflagged posts.
        blind: with flags that are shown without why, and looks, whatever else is asked for; else
            only where nothing is asked that would tell why.
    """

    states: Collection[str] = tables.UNCLOSED_STATES
    queue: str | None = None
    rule: str | None = None
    author: str | None = None
    post_id: str | None = None
    negative: float | None = None
    sarcasm: float | None = None
    offensive: float | None = None
    hateful: float | None = None
    opened_before: datetime | None = None
    words: str | None = None
    language: str | None = None
    due_before: datetime | None = None
    looks: bool = True
    blind: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A page of flags, in the order of the list.

    Attributes:
        stopped_at: where the search stopped, though there may be more; give it as `after`. None
            when it looked at all there is, or the page is full.
    """

    flags: list[Flag]
    stopped_at: FlagPosition | None


def search(
    connection: Connection, wanted: Filter, *, limit: int, after: FlagPosition | None = None
) -> Found:
    """Returns a page of flags after a position, the highest priority first, then by `place`.

    What an index has in order is read until the page is full; what few flags are, such as those of
    an author or of a rare rule, is read whole. All else (scores, words, what many flags have) is
    looked for in `SEARCHED_AT_ONCE` flags of each state, for it may be in few or none.
    """
    states = sorted(set(wanted.states))
    of_rule = _few_of_rule(connection, wanted.rule) if wanted.rule is not None else None
    few = _few(connection, wanted, of_rule)
    ordered = _ordered(wanted, tables.flags)
    looked_for = _looked_for(wanted, tables.flags, of_rule)
    if few or not looked_for:
        conditions = [*few, *ordered, *looked_for]
        parts = [_walk(connection, state, conditions, limit, after) for state in states]
        return Found(_merged(parts, limit), None)
    end = min(
        filter(None, (_end(connection, state, ordered, after) for state in states)),
        key=_order,
        default=None,
    )
    parts = [iter(_look(connection, state, wanted, of_rule, limit, after)) for state in states]
    flags = _merged(parts, limit)
    if end is not None:
        flags = [flag for flag in flags if _order(flag.position) <= _order(end)]
    return Found(flags, end if len(flags) < limit else None)


def page(
    connection: Connection, wanted: Filter, *, limit: int, after: FlagPosition | None = None
) -> list[Flag]:
    """Returns the flags that `search` finds."""
    return search(connection, wanted, limit=limit, after=after).flags


def one(connection: Connection, flag_id: int) -> Flag:
    """Returns a flag in any state; NotFound if there is none."""
    found = _read(connection, [tables.flags.c.id == flag_id], [], 1)
    if not found:
        raise NotFound(f"there is no flag {flag_id}")
    return found[0]


def many(connection: Connection, flag_ids: Collection[int]) -> list[Flag]:
    """Returns flags by id, those that there are."""
    conditions: list[ColumnElement[bool]] = [tables.flags.c.id.in_(flag_ids)]
    return _read(connection, conditions, [tables.flags.c.id], len(flag_ids))


def of_author(
    connection: Connection, author: str, *, limit: int, before_id: int | None = None
) -> list[Flag]:
    """Returns the flags of an author in any state, newest first."""
    columns = tables.flags.c
    conditions: list[ColumnElement[bool]] = [columns.author == author]
    if before_id is not None:
        conditions.append(columns.id < before_id)
    return _read(connection, conditions, [columns.id.desc()], limit)


def of_post(connection: Connection, post_id: str, *, limit: int) -> list[Flag]:
    """Returns the flags of a post in any state, newest first."""
    columns = tables.flags.c
    return _read(connection, [columns.post_id == post_id], [columns.id.desc()], limit)


def waiting(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """Counts waiting flags by queue and state, in one pass over an index."""
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
    """Returns since when the oldest flag has been waiting."""
    columns = tables.flags.c
    # By state, in one pass over an index. As one minimum of all, PostgreSQL looks for it among the
    # oldest flags there ever were.
    rows = connection.execute(
        select(columns.state, func.min(columns.opened_at))
        .where(columns.state.in_(tables.UNCLOSED_STATES))
        .group_by(columns.state)
    )
    return min((moment for _, moment in rows), default=None)


def _order(position: FlagPosition) -> tuple[int, datetime, int]:
    return (-position.priority, position.place, position.id)


def _after(position: FlagPosition | None) -> list[ColumnElement[bool]]:
    if position is None:
        return []
    columns = tables.flags.c
    later = or_(
        place() > position.place,
        and_(place() == position.place, columns.id > position.id),
    )
    # The first is what an index takes; the second says it exactly.
    return [
        columns.priority <= position.priority,
        or_(columns.priority < position.priority, later),
    ]


def _merged(parts: list[Iterator[Flag]], limit: int) -> list[Flag]:
    merged = heapq.merge(*parts, key=lambda flag: _order(flag.position))
    return [flag for flag, _ in zip(merged, range(limit), strict=False)]


def _end(
    connection: Connection,
    state: str,
    ordered: list[ColumnElement[bool]],
    after: FlagPosition | None,
) -> FlagPosition | None:
    """Where the looking stops in this state, if not at its end."""
    columns = tables.flags.c
    last = (
        select(columns.priority, place(), columns.id)
        .where(columns.state == state, *ordered, *_after(after))
        .order_by(*ORDER)
        .offset(SEARCHED_AT_ONCE)
        .limit(1)
    )
    row = connection.execute(last).one_or_none()
    return None if row is None else FlagPosition(*row)


def _look(
    connection: Connection,
    state: str,
    wanted: Filter,
    of_rule: list[int] | None,
    limit: int,
    after: FlagPosition | None,
) -> list[Flag]:
    # As a table of its own, and not as ids of which a flag has to be one: for that PostgreSQL may
    # choose to compare every flag with every id (36 s where many had the words).
    # Only what is asked of below, for SQLite reads all that is named of each row (35 ms, now 27).
    looked_at = (
        select(*(tables.flags.c[name] for name in (*_PLACED_BY, *_SEARCHED)))
        .where(tables.flags.c.state == state, *_ordered(wanted, tables.flags), *_after(after))
        .order_by(*ORDER)
        .limit(SEARCHED_AT_ONCE + 1)  # with the one where the next search begins behind
        .subquery("looked_at")
    )
    columns = looked_at.c
    order = (columns.priority.desc(), place(looked_at), columns.id)
    conditions = _looked_for(wanted, looked_at, of_rule)
    found = select(columns.id).where(*conditions).order_by(*order).limit(limit)
    numbers = connection.execute(found).scalars().all()
    return _read(connection, [tables.flags.c.id.in_(numbers)], ORDER, limit) if numbers else []


def _walk(
    connection: Connection,
    state: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    after: FlagPosition | None,
) -> Iterator[Flag]:
    columns, order = tables.flags.c, ORDER
    base = [columns.state == state, *conditions]
    if after is None:
        yield from _read(connection, base, order, limit)
        return
    same = [
        columns.priority == after.priority,
        place() >= after.place,
        or_(place() > after.place, columns.id > after.id),
    ]
    found = _read(connection, base + same, order, limit)
    yield from found
    if len(found) < limit:
        rest = [columns.priority < after.priority]
        yield from _read(connection, base + rest, order, limit - len(found))


def _few(
    connection: Connection, wanted: Filter, of_rule: list[int] | None
) -> list[ColumnElement[bool]]:
    """Conditions that few flags meet and an index finds."""
    columns = tables.flags.c
    found: list[ColumnElement[bool]] = []
    if wanted.author is not None:
        found.append(columns.author == wanted.author)
    if wanted.post_id is not None:
        found.append(columns.post_id == wanted.post_id)
    if of_rule is not None:
        found.append(columns.id.in_(of_rule))
    if wanted.due_before is not None and not found:
        due = select(columns.id).where(
            columns.state.in_(wanted.states), columns.due_at < wanted.due_before
        )
        numbers = list(connection.execute(due.limit(_FEW + 1)).scalars())
        if len(numbers) <= _FEW:
            found.append(columns.id.in_(numbers))
    if wanted.language is not None and wanted.queue is not None and not found:
        in_language = select(columns.id).where(
            columns.state.in_(wanted.states), columns.language == primary_language(wanted.language)
        )
        numbers = list(connection.execute(in_language.limit(_FEW + 1)).scalars())
        if len(numbers) <= _FEW:
            found.append(columns.id.in_(numbers))
    return found


def _few_of_rule(connection: Connection, rule: str) -> list[int] | None:
    """The flags of a rule, unless they are many."""
    columns = tables.flag_rules.c
    of_rule = select(columns.flag_id).where(columns.rule == clean_text(rule, MAX_RULE_CHARACTERS))
    found = list(connection.execute(of_rule.limit(_FEW + 1)).scalars())
    return found if len(found) <= _FEW else None


def _ordered(wanted: Filter, source: FromClause) -> list[ColumnElement[bool]]:
    """Conditions with which the list is still read in the order of an index."""
    columns = source.c
    found: list[ColumnElement[bool]] = []
    if wanted.queue is not None:
        found.append(columns.queue == wanted.queue)
    elif wanted.language is not None:
        found.append(columns.language == primary_language(wanted.language))
    if wanted.opened_before is not None:
        # No flag stands later than it was opened: this an index tells.
        found.append(place(source) < wanted.opened_before)
        found.append(columns.opened_at < wanted.opened_before)
    if not wanted.looks:
        found.append(columns.inclusion.is_(None))
    return found


def _looked_for(
    wanted: Filter, source: FromClause, of_rule: list[int] | None
) -> list[ColumnElement[bool]]:
    """The other conditions, which have to be tried flag by flag."""
    columns = source.c
    found: list[ColumnElement[bool]] = []
    if wanted.queue is not None and wanted.language is not None:
        found.append(columns.language == primary_language(wanted.language))
    if wanted.due_before is not None:
        found.append(columns.due_at < wanted.due_before)
    least = {name: getattr(wanted, name) for name in _SCORES}
    found += [columns[name] >= value for name, value in least.items() if value is not None]
    if not wanted.blind and (wanted.rule is not None or any(v is not None for v in least.values())):
        found.append(columns.blind.is_(False))
    if wanted.rule is not None and of_rule is None:
        rules = tables.flag_rules.c
        rule = clean_text(wanted.rule, MAX_RULE_CHARACTERS)
        found.append(exists().where(rules.rule == rule, rules.flag_id == columns.id))
    if wanted.words is not None:
        words = search_form(wanted.words).split()[:_MAX_WORDS]
        found += [columns.search_text.contains(word, autoescape=True) for word in words]
    return found


def _read(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    order: list[Any],
    limit: int,
) -> list[Flag]:
    # The page first and its verdicts then: as one join, PostgreSQL may join them all and sort.
    found = select(*_FLAG_COLUMNS).where(*conditions).order_by(*order).limit(limit)
    rows = connection.execute(found).all()
    numbers = [row.verdict_id for row in rows]
    verdicts = {
        row.id: tables.Verdict(**row._mapping)
        for row in connection.execute(
            select(tables.verdicts).where(tables.verdicts.c.id.in_(numbers))
        )
    }
    return [Flag(**row._mapping, verdict=verdicts[row.verdict_id]) for row in rows]
