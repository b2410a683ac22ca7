"""The outbox: what the platform is still to be told, stored together with what it reports.

An event is pending until it was delivered or parked. It is due when its next try is, unless its
post has an earlier event that is pending: events of a post are delivered in the order of their ids.
Who delivers takes due events for a while: if that process dies between the request and its commit,
they become due again, so an event is delivered at least once and never lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from storage.base.clock import moment
from storage.base.database import insert
from storage.base.text import (
    MAX_ERROR_CHARACTERS,
    check_traceparent,
    clean_json,
    clean_text,
    post_id_problem,
)
from storage.tables import Event, outbox

_columns: Final = outbox.c


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that the platform is to be told, once.

    Args:
        event: what happened, as in `verdict.created`.
        idempotency_key: by which a receiver recognises a repetition, from `event_key`.
        data: the payload's `data`, as a JSON object.
        is_clean: whether all of it has gone through `storage.base.text` already; cleaning a
            verdict's event twice was more than half of the cost.

    Raises:
        ValueError: a value that cannot be stored.
    """

    event: str
    post_id: str
    idempotency_key: str
    data: Mapping[str, Any]
    is_clean: bool = False
    traceparent: str | None = None

    def __post_init__(self) -> None:
        check_traceparent(self.traceparent)
        if re.fullmatch(r"[a-z_]{1,30}\.[a-z_]{1,30}", self.event) is None:
            raise ValueError(f"event is {self.event[:80]!r}; it must look like verdict.created")
        # A dot would make "id.timestamp.body", which is signed, ambiguous.
        if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", self.idempotency_key) is None:
            raise ValueError(
                f"idempotency_key is {self.idempotency_key[:160]!r}; "
                "it must have 1 to 128 letters, digits, - and _"
            )
        problem = post_id_problem(self.post_id)
        if problem is not None:
            raise ValueError(problem)


def event_key(what: str, row_id: int, created_at: datetime) -> str:
    """The idempotency key of an event about a row, as in `verdict-12345-1767225600`.

    It contains the second in which the row was made: a database that was set up anew counts from 1
    again, and a receiver would take its events for repetitions of the old database's.
    """
    return f"{what}-{row_id}-{int(created_at.timestamp())}"


def add_events(connection: Connection, events: Iterable[NewEvent]) -> int:
    """Adds events in the caller's transaction, and returns how many were new.

    An event whose key is there already is left as it is. The ids of the events follow their order.

    Raises:
        TypeError: an event's data is not JSON.
    """
    rows = [
        {
            "event": event.event,
            "post_id": event.post_id,
            "idempotency_key": event.idempotency_key,
            "payload": dict(event.data) if event.is_clean else clean_json(event.data),
            "traceparent": event.traceparent,
        }
        for event in events
    ]
    if not rows:
        return 0
    now = moment(connection)
    statement = (
        insert(connection, outbox)
        .values(created_at=now, next_attempt_at=now, attempts=0)
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
        .returning(_columns.id)
    )
    return len(connection.execute(statement, rows).all())


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """An event to be delivered now; `attempts` counts this try, `due_at` is when it was due."""

    id: int
    event: str
    post_id: str
    idempotency_key: str
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int
    due_at: datetime
    traceparent: str | None = None


_TAKEN: Final = [_columns[name] for name in TakenEvent.__slots__ if name != "due_at"]


def take_due(
    connection: Connection, *, limit: int, seconds: float, untried: bool = False
) -> list[TakenEvent]:
    """Takes events that are due, the longest due first; each counts as tried once more.

    Args:
        seconds: when they are due again, unless `settle` says what became of them.
        untried: only events that were never tried, the latest first.
    """
    earlier = outbox.alias("earlier")
    # As a value for each row and not as NOT EXISTS: PostgreSQL would make that one join over all
    # that is pending (4.7 s for 150,000 events, and 12 ms so).
    first_of_post = (
        select(func.min(earlier.c.id))
        .where(earlier.c.post_id == _columns.post_id, _is_pending(earlier.c))
        .scalar_subquery()
    )
    due = (
        select(_columns.id, _columns.next_attempt_at)
        .where(
            _is_pending(),
            _columns.next_attempt_at <= moment(connection),
            _columns.id == first_of_post,
        )
        .limit(limit)
        .with_for_update(skip_locked=True, of=outbox)
    )
    if untried:
        due = due.where(_columns.attempts == 0)
        due = due.order_by(_columns.next_attempt_at.desc(), _columns.id.desc())
    else:
        due = due.order_by(_columns.next_attempt_at, _columns.id)
    due_at = {row.id: row.next_attempt_at for row in connection.execute(due)}
    if not due_at:
        return []
    again_at = moment(connection, after_seconds=seconds)
    rows = connection.execute(
        update(outbox)
        .where(_columns.id.in_(list(due_at)))
        .values(attempts=_columns.attempts + 1, next_attempt_at=again_at)
        .returning(*_TAKEN)
    )
    taken = {row.id: TakenEvent(**row._mapping, due_at=due_at[row.id]) for row in rows}
    return [taken[number] for number in due_at]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of an event that was taken.

    Args:
        became: `delivered`; `failed`, to be tried again after `delay_seconds`; `parked`, to be
            tried no more; `untried`, to be given back as it was.
        error: why it was not delivered.
    """

    event: TakenEvent
    became: Literal["delivered", "failed", "parked", "untried"]
    delay_seconds: float = 0.0
    error: str = ""


def settle(connection: Connection, tries: Sequence[Tried]) -> None:
    """Stores what became of events that were taken; doing it twice leaves the same rows.

    A delivery counts whoever made it. A failure no longer says anything if the event was taken
    again in the meantime, which its number of attempts shows.
    """
    delivered = [each.event.id for each in tries if each.became == "delivered"]
    if delivered:
        connection.execute(
            update(outbox)
            .where(_columns.id.in_(delivered), _columns.delivered_at.is_(None))
            .values(delivered_at=moment(connection), parked_at=None, last_error=None)
        )
    for each in sorted(tries, key=lambda each: each.event.id):
        if each.became != "delivered":
            _settle_undelivered(connection, each)


def _settle_undelivered(connection: Connection, tried: Tried) -> None:
    event = tried.event
    values: dict[str, Any] = {"last_error": clean_text(tried.error, MAX_ERROR_CHARACTERS)}
    if tried.became == "failed":
        values["next_attempt_at"] = moment(connection, after_seconds=tried.delay_seconds)
    elif tried.became == "parked":
        values["parked_at"] = moment(connection)
    else:
        values = {"attempts": _columns.attempts - 1, "next_attempt_at": event.due_at}
    next_attempt_at = connection.execute(
        update(outbox)
        .where(_columns.id == event.id, _columns.attempts == event.attempts, _is_pending())
        .values(**values)
        .returning(_columns.next_attempt_at)
    ).scalar_one_or_none()
    if tried.became == "failed" and next_attempt_at is not None:
        # What it holds back is not due before it; else each look for due events would meet it.
        connection.execute(
            update(outbox)
            .where(
                _columns.post_id == event.post_id,
                _columns.id > event.id,
                _is_pending(),
                _columns.next_attempt_at < next_attempt_at,
            )
            .values(next_attempt_at=next_attempt_at)
        )


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the platform was not told yet; the age is of the oldest pending event, or 0."""

    pending: int
    parked: int
    oldest_age_seconds: float


def backlog(connection: Connection) -> Backlog:
    """Counts what is pending and what is parked."""
    now, pending, oldest = connection.execute(
        select(moment(connection).label("now"), func.count(), func.min(_columns.created_at))
        .select_from(outbox)
        .where(_is_pending())
    ).one()
    parked = connection.execute(
        select(func.count()).select_from(outbox).where(_columns.parked_at.is_not(None))
    ).scalar_one()
    age_seconds = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Backlog(int(pending), int(parked), age_seconds)


def undelivered(
    connection: Connection, *, limit: int, parked: bool | None = None, after_id: int = 0
) -> list[Event]:
    """Returns events that were not delivered, the oldest first.

    Args:
        parked: only those that are parked, or only those that are pending.
    """
    statement = (
        select(outbox)
        .where(_columns.delivered_at.is_(None), _columns.id > after_id)
        .order_by(_columns.id)
        .limit(limit)
    )
    if parked is not None:
        statement = statement.where(
            _columns.parked_at.is_not(None) if parked else _columns.parked_at.is_(None)
        )
    return [Event(**row._mapping) for row in connection.execute(statement)]


def events_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Event]:
    """Returns events, delivered or not, by id; a few hundred at once at most."""
    rows = connection.execute(select(outbox).where(_columns.id.in_(ids)))
    return {row.id: Event(**row._mapping) for row in rows}


def retry_parked(connection: Connection, ids: Collection[int] | None = None) -> int:
    """Makes parked events (only these, or all) pending and due, as if never tried; returns how
    many.
    """
    statement = (
        update(outbox)
        .where(_columns.parked_at.is_not(None))
        .values(parked_at=None, attempts=0, next_attempt_at=moment(connection))
    )
    if ids is not None:
        statement = statement.where(_columns.id.in_(ids))
    return int(connection.execute(statement).rowcount)


def forget_delivered(connection: Connection, *, days: float, limit: int = 1000) -> int:
    """Removes at most so many events that were delivered so long ago by the database's clock, the
    oldest first, and returns how many.
    """
    old = (
        select(_columns.id)
        .where(_columns.delivered_at < moment(connection, after_seconds=-86_400 * days))
        .order_by(_columns.delivered_at)
        .limit(limit)
    )
    return int(connection.execute(delete(outbox).where(_columns.id.in_(old))).rowcount)


def _is_pending(columns: Any = _columns) -> ColumnElement[bool]:
    pending: ColumnElement[bool] = columns.delivered_at.is_(None) & columns.parked_at.is_(None)
    return pending
