"""Who is asked to look at a flag: named in a comment (`@ann`), or handed it. Until they open its
page, it waits for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, exists, func, select, update

from storage import tables
from storage.base.database import insert
from storage.people.moderators import Moderator
from storage.tables import summonses

Why = Literal["mention", "hand-over"]


@dataclass(frozen=True, slots=True)
class Summons:
    """Somebody asks somebody to look at a flag."""

    id: int
    flag_id: int
    post_id: str
    state: str
    why: str
    asked_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Unheard:
    """A summons to somebody who has not been here since."""

    id: int
    flag_id: int
    moderator: str
    why: str
    asked_by: str


def summon(
    connection: Connection,
    moderator: Moderator,
    flag_id: int,
    why: Why,
    *,
    by: Moderator,
    now: datetime,
) -> None:
    """Asks somebody to look at a flag; once, however often until they do."""
    statement = insert(connection, summonses).values(
        moderator_id=moderator.id, flag_id=flag_id, why=why, asked_by=by.name, created_at=now
    )
    connection.execute(statement.on_conflict_do_nothing())


def waiting_for(connection: Connection, moderator: Moderator, *, limit: int) -> list[Summons]:
    """Returns what somebody is asked to look at and has not seen, oldest first."""
    flags = tables.flags.c
    statement = (
        select(
            summonses.c.id,
            summonses.c.flag_id,
            flags.post_id,
            flags.state,
            summonses.c.why,
            summonses.c.asked_by,
            summonses.c.created_at,
        )
        .join(tables.flags, flags.id == summonses.c.flag_id)
        .where(summonses.c.moderator_id == moderator.id, summonses.c.seen_at.is_(None))
        .order_by(summonses.c.id)
        .limit(limit)
    )
    return [Summons(**row._mapping) for row in connection.execute(statement)]


def see(connection: Connection, moderator: Moderator, flag_id: int, *, now: datetime) -> None:
    """Notes that somebody has opened a flag's page."""
    connection.execute(
        update(summonses)
        .where(
            summonses.c.moderator_id == moderator.id,
            summonses.c.flag_id == flag_id,
            summonses.c.seen_at.is_(None),
        )
        .values(seen_at=now)
    )


def unheard(connection: Connection, *, now: datetime, after: timedelta) -> list[Unheard]:
    """Returns summonses older than `after` to people who used no session for as long."""
    people, sessions = tables.moderators.c, tables.sessions.c
    statement = (
        select(
            summonses.c.id,
            summonses.c.flag_id,
            people.name.label("moderator"),
            summonses.c.why,
            summonses.c.asked_by,
        )
        .join(tables.moderators, people.id == summonses.c.moderator_id)
        .where(
            summonses.c.seen_at.is_(None),
            summonses.c.created_at < now - after,
            people.disabled_at.is_(None),
            ~exists().where(
                sessions.moderator_id == people.id,
                sessions.ended_at.is_(None),
                sessions.last_seen_at >= now - after,
            ),
        )
        .order_by(summonses.c.id)
    )
    return [Unheard(**row._mapping) for row in connection.execute(statement)]


def handed_over(connection: Connection, moderator: Moderator) -> list[int]:
    """Returns the flags that were handed to somebody who has not seen them, oldest first."""
    statement = (
        select(summonses.c.flag_id)
        .where(
            summonses.c.moderator_id == moderator.id,
            summonses.c.seen_at.is_(None),
            summonses.c.why == "hand-over",
        )
        .order_by(summonses.c.id)
        .limit(20)
    )
    return list(connection.execute(statement).scalars())


def count(connection: Connection, moderator: Moderator) -> int:
    """Counts the flags that somebody is asked to look at and has not seen."""
    statement = select(func.count(summonses.c.flag_id.distinct())).where(
        summonses.c.moderator_id == moderator.id, summonses.c.seen_at.is_(None)
    )
    return int(connection.execute(statement).scalar_one())
