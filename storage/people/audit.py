"""The audit log: who did what to what. It can be added to and read; triggers in the database refuse
anything else, except removing entries older than a period that was announced beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from storage.base.database import insert
from storage.base.text import clean_json, clean_text
from storage.tables import AuditEntry, audit_log, audit_retention

COMMAND_LINE: Final = "command line"
OPENID: Final = "openid"
"""The provider, where it changes what somebody is here."""


def write(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    address: str | None = None,
    now: datetime | None = None,
) -> None:
    """Adds an entry, in the transaction of what it reports.

    Args:
        actor: a moderator's name, `COMMAND_LINE` or `OPENID`.
        action, subject: such as "flag.claim" and "flag 12".
        before, after: what it was and became; no secrets and no texts of posts.
        address: where the request came from.
    """
    connection.execute(
        audit_log.insert().values(
            at=now if now is not None else datetime.now(UTC),
            actor=clean_text(actor, 64),
            action=action,
            subject=clean_text(subject, 300),
            before=clean_json(before),
            after=clean_json(after),
            address=None if address is None else clean_text(address, 64),
        )
    )


def let_go(connection: Connection, *, before: datetime) -> None:
    """Announces that entries before a moment may be removed, in the transaction that removes them;
    StorageError if the moment is less than 12 hours ago.
    """
    statement = insert(connection, audit_retention).values(id=1, entries_before=before)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"entries_before": before})
    )


def read(
    connection: Connection,
    *,
    limit: int,
    before_id: int | None = None,
    actor: str | None = None,
    action: str | None = None,
) -> list[AuditEntry]:
    """Returns entries, newest first; of one actor or action, if given."""
    columns = audit_log.c
    statement = select(audit_log).order_by(columns.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(columns.id < before_id)
    if actor:
        statement = statement.where(columns.actor == actor)
    if action:
        statement = statement.where(columns.action == action)
    return [AuditEntry(**row._mapping) for row in connection.execute(statement)]


def read_all(connection: Connection) -> Iterator[AuditEntry]:
    """Yields every entry, oldest first, read a thousand at a time."""
    last = 0
    while True:
        statement = (
            select(audit_log).where(audit_log.c.id > last).order_by(audit_log.c.id).limit(1000)
        )
        rows = connection.execute(statement).all()
        if not rows:
            return
        for row in rows:
            yield AuditEntry(**row._mapping)
        last = rows[-1].id
