"""Second looks to read: what waits to be settled, and what somebody holds or said. All are blind:
nothing here tells what was decided or judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, case, exists, func, or_, select

from storage import tables
from storage.people.moderators import Moderator
from storage.reviews.reviews import UNCLOSED, has_not_lapsed, is_for_others
from storage.tables import review_votes, reviews


@dataclass(frozen=True, slots=True)
class Look:
    """A second look without anything that would tell what was said before.

    Attributes:
        is_appeal: whether somebody appealed; which of the other kinds it is, nobody is told.
        why: what is said against the decision, of an appeal.
        held_by: who has it in hand now.
        is_for_others: whether who asks had a part in its flag, so that somebody else looks.
    """

    id: int
    flag_id: int
    post_id: str
    queue: str
    is_appeal: bool
    why: str | None
    opened_at: datetime
    escalated_at: datetime | None
    held_by: str | None
    claim_expires_at: datetime | None
    is_for_others: bool


@dataclass(frozen=True, slots=True)
class Others:
    """How many looks wait that are not to be settled, and since when the oldest."""

    count: int
    oldest: datetime | None


def to_settle(
    connection: Connection,
    moderator: Moderator,
    *,
    limit: int,
    after_id: int = 0,
    now: datetime | None = None,
) -> list[Look]:
    """Gives what waits for a lead: where two disagree, and appeals; the oldest first.

    Args:
        moderator: who asks, and is told what they had a part in.
        limit: at most so many.
        after_id: the id of the last one seen; reads on.
    """
    moment = now if now is not None else datetime.now(UTC)
    statement = (
        _looks(moderator, moment)
        .where(_to_settle(moment), reviews.c.id > after_id)
        .order_by(reviews.c.id)
        .limit(limit)
    )
    return [Look(**row._mapping) for row in connection.execute(statement)]


def others(connection: Connection, *, now: datetime | None = None) -> Others:
    """Counts the looks that wait for anybody; known answers are none."""
    moment = now if now is not None else datetime.now(UTC)
    columns = reviews.c
    row = connection.execute(
        select(func.count(), func.min(columns.opened_at)).where(
            columns.state.in_(UNCLOSED),
            columns.kind.in_(("sample", "disagreement")),
            columns.escalated_at.is_(None),
            columns.opened_at <= moment,
            has_not_lapsed(moment),
        )
    ).one()
    return Others(*row)


def own(
    connection: Connection,
    moderator: Moderator,
    *,
    limit: int,
    before_id: int | None = None,
    now: datetime | None = None,
) -> list[Look]:
    """Gives the looks that somebody holds or has voted in, newest first.

    Args:
        limit: at most so many.
        before_id: the id of the last one seen; reads on.
    """
    moment = now if now is not None else datetime.now(UTC)
    columns = reviews.c
    voted = exists().where(
        review_votes.c.review_id == columns.id, review_votes.c.moderator_id == moderator.id
    )
    holds = and_(columns.state == "claimed", columns.claimed_by == moderator.name)
    statement = _looks(moderator, moment).where(or_(holds, voted))
    if before_id is not None:
        statement = statement.where(columns.id < before_id)
    rows = connection.execute(statement.order_by(columns.id.desc()).limit(limit))
    return [Look(**row._mapping) for row in rows]


def _looks(moderator: Moderator, now: datetime) -> Select[Any]:
    columns, flags = reviews.c, tables.flags.c
    held = and_(columns.state == "claimed", columns.claim_expires_at > now)
    return select(
        columns.id,
        columns.flag_id,
        flags.post_id,
        flags.queue,
        (columns.kind == "appeal").label("is_appeal"),
        columns.why,
        columns.opened_at,
        columns.escalated_at,
        case((held, columns.claimed_by)).label("held_by"),
        case((held, columns.claim_expires_at)).label("claim_expires_at"),
        is_for_others(moderator).label("is_for_others"),
    ).join(tables.flags, flags.id == columns.flag_id)


def _to_settle(now: datetime) -> Any:
    columns = reviews.c
    return and_(
        columns.state.in_(UNCLOSED),
        or_(columns.escalated_at.is_not(None), columns.kind == "appeal"),
        columns.kind != "known",
        columns.opened_at <= now,
    )
