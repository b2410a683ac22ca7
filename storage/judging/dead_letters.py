"""Waiting dead letters in bulk: those of a stage, since a moment, with an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from storage import tables
from storage.base.text import clean_text
from storage.tables import DeadLetter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant, all that wait if left out: those of a stage, those that failed
    for good `since` then, those whose error contains this, in capitals or not.
    """

    stage: str | None = None
    since: datetime | None = None
    error: str | None = None


def last_id(connection: Connection) -> int:
    """The highest id that a dead letter has; 0 where there is none."""
    found: int | None = connection.execute(select(func.max(tables.dead_letters.c.id))).scalar()
    return found or 0


def by_stage(connection: Connection, wanted: Wanted, *, up_to_id: int) -> dict[str, int]:
    """How many of the dead letters that wait are meant, by the stage in which they failed."""
    columns = tables.dead_letters.c
    statement = (
        _narrowed(select(columns.stage, func.count().label("number")), wanted, up_to_id)
        .group_by(columns.stage)
        .order_by(columns.stage)
    )
    return {row.stage: row.number for row in connection.execute(statement)}


def hold(
    connection: Connection,
    wanted: Wanted,
    *,
    after_id: int,
    up_to_id: int,
    limit: int,
    locked: bool,
) -> list[DeadLetter]:
    """Returns the next of them by id; `locked`, those that no other transaction holds."""
    columns = tables.dead_letters.c
    statement = (
        _narrowed(select(tables.dead_letters), wanted, up_to_id)
        .where(columns.id > after_id)
        .order_by(columns.id)
        .limit(limit)
    )
    if locked:
        statement = statement.with_for_update(skip_locked=True)
    return [DeadLetter(**row._mapping) for row in connection.execute(statement)]


def _narrowed(statement: Select[Any], wanted: Wanted, up_to_id: int) -> Select[Any]:
    columns = tables.dead_letters.c
    statement = statement.where(columns.replayed_at.is_(None), columns.id <= up_to_id)
    if wanted.stage is not None:
        statement = statement.where(columns.stage == clean_text(wanted.stage, 64))
    if wanted.since is not None:
        statement = statement.where(columns.updated_at >= wanted.since)
    if wanted.error is not None:
        statement = statement.where(
            columns.error.icontains(clean_text(wanted.error, 4000), autoescape=True)
        )
    return statement
