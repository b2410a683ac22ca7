"""Flags in a learned order: what it learns from, and where it puts those that wait.

A flag stands, among those of its priority, where its `rank_at` puts it: as if it had been opened
then. That is when it was opened, or earlier by at most a bound. So whatever was opened later than
that bound stands behind it, and nothing waits for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)

from storage import tables
from storage.tables import known_answers, learned_orders, reviews

_SCORES: Final = ("text_alone", "image_alone", "degraded", "unread", "unlearnt", "evidence")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a flag when it is opened, and how it ended if it is decided.

    Attributes:
        scores: of words and pictures together, by name; those that it has.
        pictures: how many it has, as far as they are still stored.
        incomplete: whether something of it could not be seen or read.
        words: as they are searched for.
        removed: None while it waits.
        blind: whether it is shown without why it is there, as looks that measure recall are.
        author_removed, author_decided: of the author's flags that were decided when this one was
            opened.
    """

    id: int
    post_id: str
    priority: int
    opened_at: datetime
    closed_at: datetime | None
    author: str | None
    language: str
    rules: tuple[str, ...]
    scores: Mapping[str, float]
    text_alone: Mapping[str, float]
    image_alone: Mapping[str, float]
    pictures: int
    incomplete: bool
    unlearnt: bool
    words: str
    removed: bool | None
    due_at: datetime | None = None
    blind: bool = False
    author_removed: int = 0
    author_decided: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a flag is put, and why, as `flags.placement` says it."""

    flag_id: int
    rank_at: datetime
    placement: Mapping[str, Any]


def decided(connection: Connection, *, limit: int) -> list[Known]:
    """Returns the flags that people decided last, oldest first.

    Of what a second look keeps secret nothing is used: neither flags whose answer is known, nor
    those that somebody is to look at again, nor what was said in a second look. Nor are looks at
    posts that no rule flagged, and flags that are shown as they are: they measure.
    """
    flags = tables.flags.c
    secret = or_(
        exists().where(known_answers.c.flag_id == flags.id),
        exists().where(reviews.c.flag_id == flags.id, reviews.c.state.in_(tables.UNCLOSED_STATES)),
    )
    newest = (
        _select()
        .where(flags.state == "decided", flags.outcome.is_not(None), ~flags.blind, ~secret)
        .order_by(flags.closed_at.desc(), flags.id.desc())
        .limit(limit)
    )
    return [_known(row) for row in connection.execute(newest)][::-1]


def decided_since(connection: Connection, moment: datetime | None) -> int:
    """Counts flags that people decided after a moment, or ever."""
    flags = tables.flags.c
    found = select(func.count()).where(flags.state == "decided", flags.outcome.is_not(None))
    if moment is not None:
        found = found.where(flags.closed_at > moment)
    return int(connection.execute(found).scalar_one())


def waiting(connection: Connection, *, after_id: int | None, limit: int) -> list[Known]:
    """Returns and locks flags that wait, by id: those after one, or, without one, those that have
    no place yet. What somebody else is writing is left out.
    """
    flags = tables.flags.c
    which: list[ColumnElement[bool]] = [flags.state.in_(tables.UNCLOSED_STATES)]
    which.append(flags.rank_at.is_(None) if after_id is None else flags.id > after_id)
    found = _select().where(*which).order_by(flags.id).limit(limit)
    locked = found.with_for_update(skip_locked=True, of=tables.flags)
    return [_known(row) for row in connection.execute(locked)]


def put(connection: Connection, places: Sequence[Place]) -> None:
    """Puts locked flags where they belong."""
    if not places:
        return
    statement = update(tables.flags).where(tables.flags.c.id == bindparam("flag"))
    connection.execute(
        statement.values(rank_at=bindparam("moment"), placement=bindparam("how")),
        [
            {"flag": each.flag_id, "moment": each.rank_at, "how": dict(each.placement)}
            for each in places
        ],
    )


def by_age(connection: Connection, *, limit: int) -> int:
    """Puts so many flags back where their age puts them, and returns how many there were."""
    flags = tables.flags.c
    found = (
        select(flags.id)
        .where(flags.state.in_(tables.UNCLOSED_STATES), flags.rank_at.is_not(None))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    numbers = list(connection.execute(found).scalars())
    if numbers:
        back = update(tables.flags).where(flags.id.in_(numbers))
        connection.execute(back.values(rank_at=None, placement=None))
    return len(numbers)


def records_of(connection: Connection, authors: set[str]) -> dict[str, tuple[int, int]]:
    """Counts removed and decided flags of authors."""
    flags = tables.flags.c
    removed = func.count().filter(flags.outcome == "remove")
    found = (
        select(flags.author, removed, func.count())
        .where(flags.author.in_(authors), flags.state == "decided", flags.outcome.is_not(None))
        .group_by(flags.author)
    )
    return {author: (int(out), int(all_)) for author, out, all_ in connection.execute(found)}


def order_in_use(connection: Connection) -> tables.LearnedOrder | None:
    """Returns the order that flags are placed by, if there is one."""
    return _newest(connection, learned_orders.c.state == "used")


def last_tried(connection: Connection) -> tables.LearnedOrder | None:
    """Returns the order that was learnt last, whether or not it is used."""
    return _newest(connection)


def keep_order(
    connection: Connection,
    *,
    trained_at: datetime,
    decided_until: datetime,
    decisions: int,
    why: str,
    evaluation: Mapping[str, Any],
    model: Mapping[str, Any] | None,
) -> int:
    """Stores an order that was learnt, and uses it from now on if it has a model."""
    if model is not None:
        retire_order(connection)
    statement = learned_orders.insert().values(
        trained_at=trained_at,
        decided_until=decided_until,
        decisions=decisions,
        state="refused" if model is None else "used",
        why=why,
        evaluation=dict(evaluation),
        model=None if model is None else dict(model),
    )
    return int(connection.execute(statement.returning(learned_orders.c.id)).scalar_one())


def retire_order(connection: Connection) -> None:
    """Uses no order any more, and forgets what the last one learnt."""
    used = update(learned_orders).where(learned_orders.c.state == "used")
    connection.execute(used.values(state="replaced", model=None))


def _newest(connection: Connection, *which: ColumnElement[bool]) -> tables.LearnedOrder | None:
    newest = select(learned_orders).where(*which).order_by(learned_orders.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else tables.LearnedOrder(**row._mapping)


def _select() -> Select[Any]:
    flags, verdicts = tables.flags.c, tables.verdicts.c
    return select(
        flags.id,
        flags.post_id,
        flags.priority,
        flags.opened_at,
        flags.closed_at,
        flags.author,
        flags.language,
        flags.reasons,
        flags.search_text,
        flags.outcome,
        flags.due_at,
        flags.blind,
        *(verdicts[name] for name in (*tables.SCORES, *tables.OF_WORDS, *_SCORES)),
    ).join(tables.verdicts, verdicts.id == flags.verdict_id)


def _known(row: Any) -> Known:
    scores = {name: getattr(row, name) for name in (*tables.SCORES, *tables.OF_WORDS)}
    return Known(
        id=row.id,
        post_id=row.post_id,
        priority=row.priority,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        author=row.author,
        language=row.language,
        rules=tuple(str(reason.get("rule")) for reason in row.reasons),
        scores={name: score for name, score in scores.items() if score is not None},
        text_alone=row.text_alone or {},
        image_alone=row.image_alone or {},
        pictures=sum(item.get("kind") == "image" for item in row.evidence or ()),
        incomplete=bool(row.degraded or row.unread),
        unlearnt=bool(row.unlearnt),
        words=row.search_text or "",
        removed=None if row.outcome is None else row.outcome == "remove",
        due_at=row.due_at,
        blind=bool(row.blind),
    )
