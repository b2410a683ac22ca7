"""The database's clock, which decides for processes on several machines when a lease ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, DateTime, func, literal, type_coerce

from storage.base.columns import UtcDateTime


def moment(connection: Connection, after_seconds: float = 0.0) -> ColumnElement[datetime]:
    """Now, or so many seconds later, by the database's clock, for use in a statement.

    It is read when the statement runs and not when the transaction began, which may be before
    another transaction released what this one waits for.
    """
    after = timedelta(seconds=after_seconds)
    if connection.dialect.name != "postgresql":
        # SQLite has no clock but that of its one machine.
        return literal(datetime.now(UTC) + after, UtcDateTime())
    clock: ColumnElement[Any] = func.clock_timestamp(type_=DateTime(timezone=True))
    return type_coerce(clock + after, UtcDateTime())
