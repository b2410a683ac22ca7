"""What moderators say of flags: written once, taken back by an event of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import IntegrityError

from deadpan.errors import ConfigurationError, FlagConflict, NotFound
from storage import audit, claims, sampling, tables
from storage.console_tables import audit_log, decisions, moderators
from storage.flags import Decide, DecideAgain, Escalate, Event, Skip, Undo
from storage.moderators import Moderator
from storage.outbox import NewEvent, add_events, event_key
from storage.review_tables import review_votes
from storage.sampling import Sampling
from storage.text import clean_text

Action = Literal["approve", "remove", "escalate", "skip"]
ACTIONS: Final = ("approve", "remove", "escalate", "skip")
SENTIMENTS: Final = ("negative", "neutral", "positive")
UNDO_SECONDS: Final = 60
MAX_NOTE_CHARACTERS: Final = 2000
#: From here on the model's probability of sarcasm counts as "sarcastic".
_SARCASTIC: Final = 0.5
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


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision as it was written; see `docs/tables.md`.

    Attributes:
        undone: whether it was taken back.
        appeal: whether it is the outcome of an appeal.
    """

    id: int
    flag_id: int
    verdict_id: int
    moderator_id: int
    action: str
    reason_code: str | None
    note: str | None
    sentiment: str | None
    sarcastic: bool | None
    agrees_sentiment: bool | None
    agrees_sarcasm: bool | None
    seconds_taken: float | None
    undoes: int | None
    batch: str | None
    created_at: datetime
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


def decide_again(
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


def decide_many(
    connection: Connection,
    seen: Mapping[int, int],
    moderator: Moderator,
    said: Said,
    *,
    report: bool = False,
    now: datetime | None = None,
    second_looks: Sampling = _NONE,
) -> tuple[str, list[Decision], dict[int, str]]:
    """Writes the same decision for many flags; those that cannot be decided are left as they are.

    Args:
        seen: verdict ids by flag id, as they were shown.

    Returns:
        the batch's name, the decisions, and why others were not made, by flag id.
    """
    batch = secrets.token_hex(8)
    made: list[Decision] = []
    refused: dict[int, str] = {}
    # In order, so that two who decide the same flags never wait for one another in a circle.
    for flag_id in sorted(seen):
        one = Said(
            said.action, said.reason_code, said.note, said.sentiment, said.sarcastic, seen[flag_id]
        )
        try:
            made.append(
                decide(
                    connection,
                    flag_id,
                    moderator,
                    one,
                    report=report,
                    now=now,
                    batch=batch,
                    second_looks=second_looks,
                )
            )
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
    """Takes back a batch; flags go back to where they waited.

    Returns:
        the undoing events, and why others were not undone, by flag id.
    """
    undone: list[Decision] = []
    refused: dict[int, str] = {}
    for decision in sorted(of_batch(connection, batch), key=lambda each: each.flag_id):
        if decision.action == "undo":
            continue
        try:
            undone.append(
                undo(
                    connection,
                    decision.id,
                    moderator,
                    claim_seconds=None,
                    report=report,
                    now=now,
                    batch=batch,
                )
            )
        except FlagConflict as error:
            refused[decision.flag_id] = str(error)
    return undone, refused


def write_events(
    connection: Connection, decision: Decision, moderator: Moderator, *, before: str, report: bool
) -> None:
    """Writes down for others that a decision was made or taken back, in its transaction."""
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


def _created(decision: Decision, traceparent: str | None) -> NewEvent:
    """The event `decision.created`; `docs/callbacks.md` says what is in it.

    Neither the note, which may quote the post, nor who decided, which is nobody's business there.
    """
    return NewEvent(
        "decision.created",
        decision.post_id,
        event_key("decision", decision.id, decision.created_at),
        {
            "post_id": decision.post_id,
            "decision_id": decision.id,
            "flag_id": decision.flag_id,
            "verdict_id": decision.verdict_id,
            "action": decision.action,
            "reason_code": decision.reason_code,
            "sentiment": decision.sentiment,
            "sarcastic": decision.sarcastic,
            "undoes": decision.undoes,
            "created_at": decision.created_at.isoformat(),
        },
        traceparent=traceparent,
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
        agrees_sarcasm=_agrees(bool(verdict.sarcasm >= _SARCASTIC), said.sarcastic),
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
    statement = _select().where(decisions.c.flag_id == row.id).order_by(decisions.c.id.desc())
    last: Iterable[Decision] = _read(connection, statement.limit(1))
    for decision in last:
        if decision.action == said.action and decision.may_be_undone(moderator, now):
            return decision
    return None


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
