"""What moderators say of flags: written once, taken back by an event of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import IntegrityError

from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.text import clean_text
from storage.flags import claims, sampling
from storage.flags.decided import (
    UNDO_SECONDS,
    Decision,
    by_id,
    history,
    newest_of_flag,
    of_batch,
    of_flags,
)
from storage.flags.decision_event import write_events
from storage.flags.sampling import Sampling
from storage.flags.states import Decide, DecideAgain, Escalate, Event, Skip, Undo
from storage.people.moderators import Moderator
from storage.tables import SARCASTIC, SENTIMENTS, audit_log, decisions

#: What is read of decisions has a file of its own.
__all__ = ["UNDO_SECONDS", "Decision", "by_id", "history", "of_batch", "of_flags"]

Action = Literal["approve", "remove", "escalate", "skip"]
ACTIONS: Final = ("approve", "remove", "escalate", "skip")
MAX_NOTE_CHARACTERS: Final = 2000
_NONE: Final = Sampling()


@dataclass(frozen=True, slots=True)
class Said:
    """What a moderator says of a flag.

    Args:
        reason_code: in a word, as the console's list has it.
        note: in the moderator's own words.
        sentiment: what the post is, whatever the model said.
        sarcastic: whether it is meant sarcastically.
        seen_verdict_id: the verdict that was looked at; a newer one refuses the decision.

    Raises:
        ConfigurationError: a value that cannot be written.
    """

    action: Action
    reason_code: str | None = None
    note: str | None = None
    sentiment: str | None = None
    sarcastic: bool | None = None
    seen_verdict_id: int | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ConfigurationError(
                f"action {self.action[:80]!r} is unknown; known are {', '.join(ACTIONS)}"
            )
        if self.sentiment is not None and self.sentiment not in SENTIMENTS:
            raise ConfigurationError(
                f"sentiment {self.sentiment[:80]!r} is unknown; known are {', '.join(SENTIMENTS)}"
            )
        if self.note is not None and len(self.note) > MAX_NOTE_CHARACTERS:
            raise ConfigurationError(
                f"the note has {len(self.note)} characters; the limit is {MAX_NOTE_CHARACTERS}"
            )


def decide(
    connection: Connection,
    flag_id: int,
    moderator: Moderator,
    said: Said,
    *,
    report: bool = False,
    now: datetime | None = None,
    batch: str | None = None,
    second_looks: Sampling = _NONE,
) -> Decision:
    """Writes a decision and closes, escalates or gives back its flag.

    The same moderator saying the same again at once (a double click, a request repeated after a
    broken connection) gets the decision that is there.

    Args:
        report: whether the platform is told, through the outbox.
        second_looks: which decisions somebody else looks at too.

    Raises:
        FlagConflict: somebody was faster, or the post has changed since it was looked at.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    row = claims.lock(connection, flag_id)
    if (again := _said_already(connection, row, moderator, said, moment)) is not None:
        return again
    if said.seen_verdict_id is not None and said.seen_verdict_id != row.verdict_id:
        raise FlagConflict("the post was judged again while you looked at it; please look again")
    claims.change(connection, row, _event(said.action, moderator), now=moment)
    written = _insert(connection, row, moderator, said, moment, batch)
    sampling.open_after(
        connection,
        row,
        moderator,
        decision_id=written,
        action=said.action,
        sampling=second_looks,
        not_before=moment + timedelta(seconds=UNDO_SECONDS),
    )
    decision = by_id(connection, written)
    write_events(connection, decision, moderator, before=row.state, report=report)
    return decision


def decide_appeal(
    connection: Connection,
    flag: Row[Any],
    moderator: Moderator,
    said: Said,
    *,
    report: bool,
    now: datetime,
) -> int:
    """Writes the decision that an appeal ends with; the flag stays closed. It cannot be undone.

    Args:
        flag: its row, locked.

    Returns:
        the decision's id.

    Raises:
        FlagConflict: the flag is not decided.
    """
    assert said.action in ("approve", "remove")
    claims.change(connection, flag, DecideAgain(said.action), now=now)
    written = _insert(connection, flag, moderator, said, now, None)
    decision = by_id(connection, written)
    write_events(connection, decision, moderator, before=flag.state, report=report)
    return written


def undo(
    connection: Connection,
    decision_id: int,
    moderator: Moderator,
    *,
    claim_seconds: float | None,
    report: bool = False,
    now: datetime | None = None,
    batch: str | None = None,
) -> Decision:
    """Takes a decision back within a minute; the moderator holds the flag again.

    Args:
        claim_seconds: how long they hold it; None gives it back to everybody.
        report: whether the platform is told, through the outbox.

    Raises:
        FlagConflict: too late, not theirs, undone already, or the flag has moved on.
        NotFound: there is no such decision.
    """
    moment = now if now is not None else datetime.now(UTC)
    decision = by_id(connection, decision_id)
    row = claims.lock(connection, decision.flag_id)
    decision = by_id(connection, decision_id)  # again, now that nobody else can change it
    if decision.moderator_id != moderator.id:
        raise FlagConflict(f"only {decision.moderator} can undo this decision")
    if decision.undone or decision.action == "undo":
        raise FlagConflict("this decision was undone already")
    if not decision.may_be_undone(moderator, moment):
        raise FlagConflict(
            f"a decision can be undone for {UNDO_SECONDS} seconds, and they are over; "
            "ask a lead if it was a mistake"
        )
    sampling.withdraw(connection, decision.id, decision.flag_id)
    until = None if claim_seconds is None else moment + timedelta(seconds=claim_seconds)
    # A post has at most one flag that waits. The unique index says so if a new one was opened.
    try:
        with connection.begin_nested():
            claims.change(connection, row, Undo(moderator.name, decision.action, until), now=moment)
    except IntegrityError:
        raise FlagConflict(
            "the post was flagged anew in the meantime; decide its new flag instead"
        ) from None
    statement = decisions.insert().values(
        flag_id=decision.flag_id,
        verdict_id=decision.verdict_id,
        moderator_id=moderator.id,
        action="undo",
        undoes=decision.id,
        batch=batch,
        created_at=moment,
    )
    written = connection.execute(statement.returning(decisions.c.id)).scalar_one()
    undone = by_id(connection, written)
    write_events(connection, undone, moderator, before=row.state, report=report)
    return undone


def _insert(
    connection: Connection,
    flag: Row[Any],
    moderator: Moderator,
    said: Said,
    now: datetime,
    batch: str | None,
) -> int:
    verdict = connection.execute(
        select(tables.verdicts).where(tables.verdicts.c.id == flag.verdict_id)
    ).one()
    statement = decisions.insert().values(
        flag_id=flag.id,
        verdict_id=flag.verdict_id,
        moderator_id=moderator.id,
        action=said.action,
        reason_code=said.reason_code,
        note=cleaned_note(said),
        sentiment=said.sentiment,
        sarcastic=said.sarcastic,
        agrees_sentiment=_agrees(_said_by_model(verdict), said.sentiment),
        agrees_sarcasm=_agrees(bool(verdict.sarcasm >= SARCASTIC), said.sarcastic),
        seconds_taken=_seconds_taken(connection, flag, moderator, now),
        batch=batch,
        created_at=now,
    )
    return int(connection.execute(statement.returning(decisions.c.id)).scalar_one())


def cleaned_note(said: Said) -> str | None:
    """The note as a database takes it."""
    return clean_text(said.note.strip(), MAX_NOTE_CHARACTERS) if said.note else None


def _event(action: str, moderator: Moderator) -> Event:
    name, lead = moderator.name, moderator.is_lead
    if action == "approve":
        return Decide(name, "approve", lead)
    if action == "remove":
        return Decide(name, "remove", lead)
    return Escalate(name, lead) if action == "escalate" else Skip(name, lead)


def _said_already(
    connection: Connection, row: Row[Any], moderator: Moderator, said: Said, now: datetime
) -> Decision | None:
    expected = {"approve": "decided", "remove": "decided", "escalate": "escalated", "skip": "open"}
    if row.state != expected[said.action]:
        return None
    last = newest_of_flag(connection, row.id)
    if last is None or last.action != said.action or not last.may_be_undone(moderator, now):
        return None
    return last


def _seconds_taken(
    connection: Connection, row: Row[Any], moderator: Moderator, now: datetime
) -> float | None:
    if row.state != "claimed" or row.claimed_by != moderator.name:
        return None
    log = audit_log.c
    # The newest claim of this flag, in the moderator's own entries.
    began = connection.execute(
        select(log.at)
        .where(
            log.actor == moderator.name, log.action == "flag.claim", log.subject == f"flag {row.id}"
        )
        .order_by(log.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if began is None else max(0.0, round((now - began).total_seconds(), 3))


def _said_by_model(verdict: Any) -> str:
    return max(SENTIMENTS, key=lambda label: getattr(verdict, label))


def _agrees(model: object, moderator: object) -> bool | None:
    return None if moderator is None else model == moderator
