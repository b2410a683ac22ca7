"""Notices: what people are told of, each once to each target, whoever sends it.

A matter that lasts, such as a queue past its promise, has one notice a target until it is over; one
that was not sent by then never is. What happens at a moment, such as new dead letters, is over once
it was sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from storage import tables
from storage.base.database import insert
from storage.base.text import clean_text
from storage.tables import Notice

#: A matter that comes and goes is told of at most so often.
AGAIN_AFTER: Final = timedelta(hours=1)
#: For whom a notice is in hand: whoever fell silent with one leaves it to others after that.
IN_HAND: Final = timedelta(minutes=5)
_KEPT: Final = timedelta(days=30)
#: Of these the newest says up to where people were told.
MOMENTARY: Final = ("dead-letters",)


@dataclass(frozen=True, slots=True)
class Matter:
    """What people should know.

    Attributes:
        kind: at most 16 characters.
        subject: which of its kind, at most 128 characters.
        text: for people; nothing of a post's content.
    """

    kind: str
    subject: str
    text: str


def note(
    connection: Connection,
    matters: Iterable[Matter],
    *,
    looked_at: Collection[str],
    targets: int,
    now: datetime,
) -> int:
    """Writes notices of what is new, ends those of what is over, and returns how many are new.

    Args:
        looked_at: kinds of which `matters` is all there is; others stay as they are.
        targets: how many are told; they are numbered from 0.
    """
    columns = tables.notices.c
    found = list(matters)
    current = {(each.kind, each.subject) for each in found}
    lasting = set(looked_at) - set(MOMENTARY)
    rows = connection.execute(
        select(columns.id, columns.kind, columns.subject).where(
            columns.ended_at.is_(None), columns.kind.in_(lasting)
        )
    )
    over = [row.id for row in rows if (row.kind, row.subject) not in current]
    if over:
        connection.execute(update(tables.notices).where(columns.id.in_(over)).values(ended_at=now))
    connection.execute(
        delete(tables.notices).where(columns.ended_at < now - _KEPT, columns.kind.not_in(MOMENTARY))
    )
    new = 0
    for each in found:
        kind, subject = clean_text(each.kind, 16), clean_text(each.subject, 128)
        for target in range(targets):
            lately = exists().where(
                columns.kind == kind,
                columns.subject == subject,
                columns.target == target,
                or_(columns.ended_at.is_(None), columns.created_at > now - AGAIN_AFTER),
            )
            if connection.execute(select(lately)).scalar():
                continue
            statement = insert(connection, tables.notices).values(
                kind=kind,
                subject=subject,
                target=target,
                text=clean_text(each.text, 1000),
                created_at=now,
                attempts=0,
                next_attempt_at=now,
            )
            new += connection.execute(statement.on_conflict_do_nothing()).rowcount
    return new


def take(connection: Connection, *, targets: int, now: datetime) -> Notice | None:
    """Takes the next notice that is due, oldest first; it is counted as tried, and nobody else
    takes it while it is in hand.
    """
    columns = tables.notices.c
    row = connection.execute(
        select(tables.notices)
        .where(_waits(), columns.target < targets, columns.next_attempt_at <= now)
        .order_by(columns.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    connection.execute(
        update(tables.notices)
        .where(columns.id == row.id)
        .values(attempts=row.attempts + 1, next_attempt_at=now + IN_HAND)
    )
    return Notice(**{**row._mapping, "attempts": row.attempts + 1})


def sent(connection: Connection, notice: Notice, *, now: datetime) -> None:
    """Notes that a notice arrived."""
    _settle(connection, notice, now, sent_at=now)


def not_sent(
    connection: Connection, notice: Notice, *, retry_at: datetime | None, now: datetime
) -> None:
    """Notes that a notice did not arrive; without `retry_at` it is given up."""
    if retry_at is None:
        _settle(connection, notice, now, gave_up_at=now)
    else:
        columns = tables.notices.c
        connection.execute(
            update(tables.notices).where(columns.id == notice.id).values(next_attempt_at=retry_at)
        )


def newest_subject(connection: Connection, kind: str) -> tuple[str, datetime] | None:
    """Returns the subject of the newest notice of a kind, and when it was written."""
    columns = tables.notices.c
    row = connection.execute(
        select(columns.subject, columns.created_at)
        .where(columns.kind == kind)
        .order_by(columns.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.subject, row.created_at)


def new_dead_letters(connection: Connection, *, after_id: int) -> tuple[int, int]:
    """Counts dead letters with a higher id that still wait; and the highest id, 0 without any."""
    columns = tables.dead_letters.c
    row = connection.execute(
        select(func.count(), func.max(columns.id)).where(
            columns.id > after_id, columns.replayed_at.is_(None)
        )
    ).one()
    return int(row[0]), int(row[1] or 0)


def _settle(connection: Connection, notice: Notice, now: datetime, **how: datetime) -> None:
    ended = {"ended_at": now} if notice.kind in MOMENTARY else {}
    columns = tables.notices.c
    connection.execute(update(tables.notices).where(columns.id == notice.id).values(**how, **ended))


def _waits() -> ColumnElement[bool]:
    columns = tables.notices.c
    return and_(columns.sent_at.is_(None), columns.gave_up_at.is_(None), columns.ended_at.is_(None))
