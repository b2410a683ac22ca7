"""Indexes of tables that are large and written to all the time.

On PostgreSQL, CREATE INDEX blocks writers until it is done: minutes, on millions of rows. Done
CONCURRENTLY it blocks nobody, but cannot be rolled back with the rest of a migration. So one that
calls these does nothing else, and can be run again after a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index(
    name: str,
    table: str,
    columns: list[Any],
    *,
    unique: bool = False,
    where: str | None = None,
) -> None:
    """Makes an index without blocking writers, whether or not an earlier try has left a part of it;
    `columns` are names, or `sa.text` of an expression.
    """
    condition = None if where is None else sa.text(where)
    if op.get_context().dialect.name != "postgresql":
        op.create_index(
            name, table, columns, unique=unique, sqlite_where=condition, if_not_exists=True
        )
        return
    with _outside_transactions():
        if not op.get_context().as_sql and _is_broken(name):
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name,
            table,
            columns,
            unique=unique,
            postgresql_where=condition,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def drop_index(name: str, table: str) -> None:
    """Removes an index, if it is there, without blocking anybody."""
    if op.get_context().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        return
    with _outside_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_transactions() -> Iterator[None]:
    """It waits for open transactions as long as they last, which blocks nobody."""
    with op.get_context().autocommit_block():
        before = "0"
        if not op.get_context().as_sql:
            before = str(op.get_bind().execute(sa.text("SHOW lock_timeout")).scalar_one())
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{before}'")


def _is_broken(name: str) -> bool:
    """Whether making it was interrupted: such an index is kept up to date but never used."""
    found = op.get_bind().execute(
        sa.text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
        {"name": name},
    )
    return bool(found.scalar())
