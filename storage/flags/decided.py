"""Decisions as they were made, and what others learn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, exists, select

from deadpan.core.errors import NotFound
from storage import tables
from storage.judging.outbox import NewEvent, add_events, event_key
from storage.people import audit
from storage.people.moderators import Moderator
from storage.tables import decisions, moderators, review_votes

UNDO_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Decision(tables.DecisionRow):
    """A decision, with its post and who made it.

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


def is_undone() -> ColumnElement[bool]:
    """Whether a decision was taken back, as a condition."""
    later = decisions.alias("later")
    return exists().where(later.c.undoes == decisions.c.id)


def by_id(connection: Connection, decision_id: int) -> Decision:
    """Returns a decision; NotFound if there is none."""
    found = _read(connection, _select().where(decisions.c.id == decision_id))
    if not found:
        raise NotFound(f"there is no decision {decision_id}")
    return found[0]


def of_flags(connection: Connection, flag_ids: Sequence[int]) -> dict[int, list[Decision]]:
    """Returns the decisions of flags, oldest first, by flag id."""
    by_flag: dict[int, list[Decision]] = {flag_id: [] for flag_id in flag_ids}
    statement = _select().where(decisions.c.flag_id.in_(flag_ids)).order_by(decisions.c.id)
    for decision in _read(connection, statement):
        by_flag[decision.flag_id].append(decision)
    return by_flag


def of_batch(connection: Connection, batch: str) -> list[Decision]:
    """Returns the decisions that were made together, and their undoing."""
    return _read(connection, _select().where(decisions.c.batch == batch).order_by(decisions.c.id))


def history(
    connection: Connection,
    *,
    limit: int,
    before_id: int | None = None,
    moderator_id: int | None = None,
) -> list[Decision]:
    """Returns decisions, newest first; of one moderator, if given."""
    statement = _select().order_by(decisions.c.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(decisions.c.id < before_id)
    if moderator_id is not None:
        statement = statement.where(decisions.c.moderator_id == moderator_id)
    return _read(connection, statement)


def newest_of_flag(connection: Connection, flag_id: int) -> Decision | None:
    """Returns the last decision of a flag, if there is one."""
    statement = _select().where(decisions.c.flag_id == flag_id).order_by(decisions.c.id.desc())
    return next(iter(_read(connection, statement.limit(1))), None)


def tell_others(
    connection: Connection, decision: Decision, moderator: Moderator, *, before: str, report: bool
) -> None:
    """Tells the platform (if `report`) and the audit log that a decision was made or taken back, in
    its transaction; `before` is the state that the flag was in.
    """
    if report:
        found = connection.execute(
            select(tables.verdicts.c.traceparent).where(tables.verdicts.c.id == decision.verdict_id)
        )
        add_events(connection, [_created(decision, found.scalar())])
    audit.write(
        connection,
        moderator.name,
        f"flag.{decision.action}",
        f"flag {decision.flag_id}",
        before={"state": before},
        after={
            "decision": decision.id,
            "reason_code": decision.reason_code,
            "undoes": decision.undoes,
            "batch": decision.batch,
        },
        now=decision.created_at,
    )


#: Neither the note, which may quote the post, nor who decided, which the platform need not know.
_TOLD: Final = (
    "flag_id",
    "verdict_id",
    "action",
    "reason_code",
    "sentiment",
    "sarcastic",
    "offensive",
    "undoes",
)


def _created(decision: Decision, traceparent: str | None) -> NewEvent:
    """The event `decision.created`; `docs/callbacks.md` says what is in it."""
    data = {
        "post_id": decision.post_id,
        "decision_id": decision.id,
        **{name: getattr(decision, name) for name in _TOLD},
        "created_at": decision.created_at.isoformat(),
    }
    key = event_key("decision", decision.id, decision.created_at)
    return NewEvent("decision.created", decision.post_id, key, data, traceparent=traceparent)


def _select() -> Select[Any]:
    appeal = exists().where(review_votes.c.decision_id == decisions.c.id)
    return (
        select(
            decisions,
            tables.flags.c.post_id,
            moderators.c.name.label("moderator"),
            is_undone().label("undone"),
            appeal.label("appeal"),
        )
        .join(tables.flags, tables.flags.c.id == decisions.c.flag_id)
        .join(moderators, moderators.c.id == decisions.c.moderator_id)
    )


def _read(connection: Connection, statement: Select[Any]) -> list[Decision]:
    return [Decision(**row._mapping) for row in connection.execute(statement)]
