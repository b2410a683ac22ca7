"""The database's clock, by which processes on several machines agree when a lease ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, DateTime, func, literal, type_coerce

from storage.tables.judging import UtcDateTime


def moment(connection: Connection, after_seconds: float = 0.0) -> ColumnElement[datetime]:
    """A moment for a statement: now by the database's clock, and so many seconds after.

    It is read when the statement runs and not when the transaction began, which may be before
    another gave back what this one waits for.
    """
    after = timedelta(seconds=after_seconds)
    if connection.dialect.name != "postgresql":
        # SQLite has no clock but that of its one machine.
        return literal(datetime.now(UTC) + after, UtcDateTime())
    clock: ColumnElement[Any] = func.clock_timestamp(type_=DateTime(timezone=True))
    return type_coerce(clock + after, UtcDateTime())
