"""Indexes of tables that are large and written to all the time.

On PostgreSQL an index that is made in the usual way keeps writers out until it is done: minutes, on
millions of rows. Made CONCURRENTLY it keeps nobody out, but it cannot be undone with the rest of a
migration. So a migration that calls these does nothing else, and may be run again after a failure.
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
    """Makes an index and keeps no writer out, whether or not a try before has left a part of it.

    Args:
        columns: names, or `sa.text` of an expression.
        where: of a partial index.
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
    """Removes an index and keeps nobody out; one that is not there is none to remove."""
    if op.get_context().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        return
    with _outside_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_transactions() -> Iterator[None]:
    """It waits for the transactions that are open, for as long as they are: that costs nobody
    anything."""
    with op.get_context().autocommit_block():
        before = "0"
        if not op.get_context().as_sql:
            before = str(op.get_bind().execute(sa.text("SHOW lock_timeout")).scalar_one())
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{before}'")


def _is_broken(name: str) -> bool:
    """Whether making it was interrupted: such an index is kept up to date, and never used."""
    found = op.get_bind().execute(
        sa.text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
        {"name": name},
    )
    return bool(found.scalar())
