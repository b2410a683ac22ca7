"""Leases in the database: of several processes, one holds a name, for a while."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_
from sqlalchemy.dialects import postgresql, sqlite

from storage import tables
from storage.base.clock import moment


def take(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Takes a lease that is free or has run out, or renews the holder's own.

    Args:
        name: of the lease, at most 64 characters.
        holder: a name that no other process has, at most 200 characters.
        seconds: how long it lasts, by the database's clock.

    Returns:
        whether the holder has it now.
    """
    table = tables.leases
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    insert = make(table).values(
        name=name, holder=holder, expires_at=moment(connection, after_seconds=seconds)
    )
    statement = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": insert.excluded.holder, "expires_at": insert.excluded.expires_at},
        where=or_(table.c.holder == holder, table.c.expires_at < moment(connection)),
    ).returning(table.c.name)
    return connection.execute(statement).first() is not None


def release(connection: Connection, name: str, *, holder: str) -> None:
    """Gives the holder's lease back, so that another need not wait for its end."""
    table = tables.leases
    connection.execute(delete(table).where(table.c.name == name, table.c.holder == holder))
