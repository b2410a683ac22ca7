"""Decisions as they were made: one, those of flags or of a batch, and the newest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from deadpan.core.errors import NotFound
from storage import tables
from storage.people.moderators import Moderator
from storage.tables import decisions, moderators, review_votes

UNDO_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Decision(tables.DecisionRow):
    """A decision with the post and the moderator.

    Attributes:
        undone: whether it was taken back.
        appeal: whether it is the outcome of an appeal.
    """

    post_id: str
    moderator: str
    undone: bool
    appeal: bool

    def may_be_undone(self, by: Moderator, now: datetime) -> bool:
        """Whether it is theirs, not undone, and at most a minute old."""
        age = (now - self.created_at).total_seconds()
        return (
            self.moderator_id == by.id
            and self.action != "undo"
            and not self.undone
            and not self.appeal
            and age <= UNDO_SECONDS
        )


def by_id(connection: Connection, decision_id: int) -> Decision:
    """Gives a decision.

    Raises:
        NotFound: there is none of this id.
    """
    found = _read(connection, _select().where(decisions.c.id == decision_id))
    if not found:
        raise NotFound(f"there is no decision {decision_id}")
    return found[0]


def of_flags(connection: Connection, flag_ids: Sequence[int]) -> dict[int, list[Decision]]:
    """Gives the decisions of flags, oldest first, by flag id."""
    by_flag: dict[int, list[Decision]] = {flag_id: [] for flag_id in flag_ids}
    statement = _select().where(decisions.c.flag_id.in_(flag_ids)).order_by(decisions.c.id)
    for decision in _read(connection, statement):
        by_flag[decision.flag_id].append(decision)
    return by_flag


def of_batch(connection: Connection, batch: str) -> list[Decision]:
    """Gives the decisions that were made together, and their undoing."""
    return _read(connection, _select().where(decisions.c.batch == batch).order_by(decisions.c.id))


def history(
    connection: Connection,
    *,
    limit: int,
    before_id: int | None = None,
    moderator_id: int | None = None,
) -> list[Decision]:
    """Gives decisions, newest first.

    Args:
        limit: at most so many.
        before_id: the id of the last one seen.
        moderator_id: only theirs.
    """
    statement = _select().order_by(decisions.c.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(decisions.c.id < before_id)
    if moderator_id is not None:
        statement = statement.where(decisions.c.moderator_id == moderator_id)
    return _read(connection, statement)


def newest_of_flag(connection: Connection, flag_id: int) -> Decision | None:
    """Gives the last decision of a flag, if there is one."""
    statement = _select().where(decisions.c.flag_id == flag_id).order_by(decisions.c.id.desc())
    return next(iter(_read(connection, statement.limit(1))), None)


def _select() -> Select[Any]:
    later = decisions.alias("later")
    undone = select(later.c.id).where(later.c.undoes == decisions.c.id).exists()
    appeal = select(review_votes.c.id).where(review_votes.c.decision_id == decisions.c.id).exists()
    return (
        select(
            decisions,
            tables.flags.c.post_id,
            moderators.c.name.label("moderator"),
            undone.label("undone"),
            appeal.label("appeal"),
        )
        .join(tables.flags, tables.flags.c.id == decisions.c.flag_id)
        .join(moderators, moderators.c.id == decisions.c.moderator_id)
    )


def _read(connection: Connection, statement: Select[Any]) -> list[Decision]:
    return [Decision(**row._mapping) for row in connection.execute(statement)]
