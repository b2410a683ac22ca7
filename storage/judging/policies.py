"""The policies that posts were judged by, each as its file was written."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select

from storage.base.database import insert
from storage.tables import StoredPolicy, policies


def started(
    connection: Connection, version: str, text: str, *, now: datetime | None = None
) -> None:
    """Says that a worker started with a policy. Of one that is stored already the text is kept as
    it is written now: what judges nothing, such as a comment, may have changed.
    """
    now = now if now is not None else datetime.now(UTC)
    changed = {"text": text, "last_started_at": now}
    statement = insert(connection, policies).values(version=version, first_seen_at=now, **changed)
    connection.execute(statement.on_conflict_do_update(index_elements=["version"], set_=changed))


def history(connection: Connection, *, limit: int) -> list[StoredPolicy]:
    """Returns policies, the one in use first: that which a worker started with last."""
    columns = policies.c
    order = (columns.last_started_at.desc(), columns.first_seen_at.desc())
    rows = connection.execute(select(policies).order_by(*order).limit(limit))
    return [StoredPolicy(**row._mapping) for row in rows]
