"""Leases in the database: one of several processes holds a name for a while."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_

from storage import tables
from storage.base.clock import moment
from storage.base.database import insert


def take(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Takes a lease that is free or has run out, or renews the holder's own, for so many seconds by
    the database's clock; says whether the holder has it now.

    Args:
        name, holder: at most 64 and 200 characters; no other process has the same holder's name.
    """
    table = tables.leases
    upsert = insert(connection, table).values(
        name=name, holder=holder, expires_at=moment(connection, after_seconds=seconds)
    )
    statement = upsert.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": upsert.excluded.holder, "expires_at": upsert.excluded.expires_at},
        where=or_(table.c.holder == holder, table.c.expires_at < moment(connection)),
    ).returning(table.c.name)
    return connection.execute(statement).first() is not None


def release(connection: Connection, name: str, *, holder: str) -> None:
    """Gives the holder's lease back, so that nobody has to wait for it to expire."""
    table = tables.leases
    connection.execute(delete(table).where(table.c.name == name, table.c.holder == holder))
