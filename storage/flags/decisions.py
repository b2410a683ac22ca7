"""What moderators say of flags: stored once, taken back by an event of its own, alone or many."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import IntegrityError

from deadpan.core.errors import ConfigurationError, FlagConflict, NotFound
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
    tell_others,
)
from storage.flags.sampling import Sampling
from storage.flags.states import Decide, DecideAgain, Escalate, Event, Skip, Undo
from storage.people.moderators import Moderator
from storage.tables import SENTIMENTS, YES, audit_log, decisions

#: What is read of decisions has a file of its own.
__all__ = ["UNDO_SECONDS", "Decision", "by_id", "history", "of_batch", "of_flags"]

Action = Literal["approve", "remove", "escalate", "skip"]
ACTIONS: Final = ("approve", "remove", "escalate", "skip")
MAX_NOTE_CHARACTERS: Final = 2000
_NONE: Final = Sampling()
#: The state that each action leaves a flag in.
_LEADS_TO: Final = {
    "approve": "decided",
    "remove": "decided",
    "escalate": "escalated",
    "skip": "open",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a moderator says of a flag.

    Args:
        sentiment, sarcastic, offensive: how the post is meant, whatever the model said.
        seen_verdict_id: the verdict that was looked at; a newer one refuses the decision.

    Raises:
        ConfigurationError: a value that cannot be stored.
    """

    action: Action
    reason_code: str | None = None
    note: str | None = None
    sentiment: str | None = None
    sarcastic: bool | None = None
    seen_verdict_id: int | None = None
    offensive: bool | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ConfigurationError(
                f"unknown action {self.action[:80]!r}; use one of {', '.join(ACTIONS)}"
            )
        if self.sentiment is not None and self.sentiment not in SENTIMENTS:
            raise ConfigurationError(
                f"unknown sentiment {self.sentiment[:80]!r}; use one of {', '.join(SENTIMENTS)}"
            )
        if self.note is not None and len(self.note) > MAX_NOTE_CHARACTERS:
            raise ConfigurationError(
                f"the note has {len(self.note)} characters; the limit is {MAX_NOTE_CHARACTERS}"
            )

    @property
    def cleaned_note(self) -> str | None:
        """The note as a database takes it."""
        return clean_text(self.note.strip(), MAX_NOTE_CHARACTERS) if self.note else None


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
    """Stores a decision and closes, escalates or gives back its flag.

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
    tell_others(connection, decision, moderator, before=row.state, report=report)
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
    """Stores the decision that an appeal ends with, and returns its id. The flag, whose row is
    locked, stays closed, and this decision cannot be undone.

    Raises:
        FlagConflict: the flag is not decided.
    """
    assert said.action in ("approve", "remove")
    claims.change(connection, flag, DecideAgain(said.action), now=now)
    written = _insert(connection, flag, moderator, said, now, None)
    decision = by_id(connection, written)
    tell_others(connection, decision, moderator, before=flag.state, report=report)
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
    """Takes a decision back within a minute.

    Args:
        claim_seconds: how long the moderator holds the flag again; None gives it to everybody.
        report: whether the platform is told, through the outbox.

    Raises:
        FlagConflict: too late, not theirs, undone already, or the flag has moved on.
        NotFound: there is no such decision.
    """
    moment = now if now is not None else datetime.now(UTC)
    row = claims.lock(connection, by_id(connection, decision_id).flag_id)
    decision = by_id(connection, decision_id)  # again, now that nobody else can change it
    if decision.moderator_id != moderator.id:
        raise FlagConflict(f"only {decision.moderator} can undo this decision")
    if decision.undone or decision.action == "undo":
        raise FlagConflict("this decision was already undone")
    if not decision.may_be_undone(moderator, moment):
        raise FlagConflict(
            f"decisions can be undone for {UNDO_SECONDS} seconds only; "
            "ask a lead if this one was a mistake"
        )
    sampling.withdraw(connection, decision.id, decision.flag_id)
    until = None if claim_seconds is None else moment + timedelta(seconds=claim_seconds)
    # A post has at most one flag that waits. The unique index says so if a new one was opened.
    try:
        with connection.begin_nested():
            claims.change(connection, row, Undo(moderator.name, decision.action, until), now=moment)
    except IntegrityError:
        raise FlagConflict("the post was flagged again meanwhile; decide its new flag") from None
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
    tell_others(connection, undone, moderator, before=row.state, report=report)
    return undone


def decide_batch(
    connection: Connection,
    seen: Mapping[int, int],
    moderator: Moderator,
    said: Said,
    *,
    report: bool = False,
    now: datetime | None = None,
    second_looks: Sampling = _NONE,
) -> tuple[str, list[Decision], dict[int, str]]:
    """Stores the same decision for many flags; those that cannot be decided are left as they are.

    Args:
        seen: verdict ids by flag id, as they were shown.

    Returns:
        the batch's name, the decisions, and why others were not made, by flag id.
    """
    batch = secrets.token_hex(8)
    made: list[Decision] = []
    refused: dict[int, str] = {}
    more: dict[str, Any] = {"report": report, "now": now, "second_looks": second_looks}
    # In order, so that two who decide the same flags never deadlock.
    for flag_id in sorted(seen):
        one = replace(said, seen_verdict_id=seen[flag_id])
        try:
            made.append(decide(connection, flag_id, moderator, one, batch=batch, **more))
        except (FlagConflict, NotFound) as error:
            refused[flag_id] = str(error)
    return batch, made, refused


def undo_batch(
    connection: Connection,
    batch: str,
    moderator: Moderator,
    *,
    report: bool = False,
    now: datetime | None = None,
) -> tuple[list[Decision], dict[int, str]]:
    """Takes back a batch; flags go back to where they waited. An unknown batch holds nothing.

    Returns:
        the undoing decisions, and why others were not undone, by flag id.
    """
    undone: list[Decision] = []
    refused: dict[int, str] = {}
    more: dict[str, Any] = {"claim_seconds": None, "report": report, "now": now, "batch": batch}
    for decision in sorted(of_batch(connection, batch), key=lambda each: each.flag_id):
        if decision.action != "undo":
            try:
                undone.append(undo(connection, decision.id, moderator, **more))
            except FlagConflict as error:
                refused[decision.flag_id] = str(error)
    return undone, refused


def _insert(
    connection: Connection,
    flag: Row[Any],
    moderator: Moderator,
    said: Said,
    now: datetime,
    batch: str | None,
) -> int:
    columns = tables.verdicts.c
    verdict = connection.execute(select(tables.verdicts).where(columns.id == flag.verdict_id)).one()
    model_says = tables.Verdict(**verdict._mapping)
    statement = decisions.insert().values(
        flag_id=flag.id,
        verdict_id=flag.verdict_id,
        moderator_id=moderator.id,
        action=said.action,
        reason_code=said.reason_code,
        note=said.cleaned_note,
        sentiment=said.sentiment,
        sarcastic=said.sarcastic,
        offensive=said.offensive,
        agrees_sentiment=None if said.sentiment is None else model_says.sentiment == said.sentiment,
        agrees_sarcasm=_agrees(model_says.sarcasm, said.sarcastic),
        agrees_offensive=_agrees(model_says.offensive, said.offensive),
        seconds_taken=_seconds_taken(connection, flag, moderator, now),
        batch=batch,
        created_at=now,
    )
    return int(connection.execute(statement.returning(decisions.c.id)).scalar_one())


def _event(action: Action, moderator: Moderator) -> Event:
    name, lead = moderator.name, moderator.is_lead
    if action in ("approve", "remove"):
        return Decide(name, action, lead)
    return Escalate(name, lead) if action == "escalate" else Skip(name, lead)


def _said_already(
    connection: Connection, row: Row[Any], moderator: Moderator, said: Said, now: datetime
) -> Decision | None:
    if row.state != _LEADS_TO[said.action]:
        return None
    last = newest_of_flag(connection, row.id)
    same = last is not None and last.action == said.action and last.may_be_undone(moderator, now)
    return last if same else None


def _seconds_taken(
    connection: Connection, row: Row[Any], moderator: Moderator, now: datetime
) -> float | None:
    if row.state != "claimed" or row.claimed_by != moderator.name:
        return None
    log = audit_log.c
    # The newest claim of this flag, in the moderator's own entries.
    mine = (log.actor == moderator.name) & (log.action == "flag.claim")
    began = connection.execute(
        select(log.at).where(mine, log.subject == f"flag {row.id}").order_by(log.id.desc()).limit(1)
    ).scalar_one_or_none()
    return None if began is None else max(0.0, round((now - began).total_seconds(), 3))


def _agrees(score: float | None, moderator: bool | None) -> bool | None:
    return None if score is None or moderator is None else (score >= YES) == moderator
