"""Alembic runs this file; `storage.migrations.schema` gives it a connection."""

from __future__ import annotations

from alembic import context

from storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes tables only by copying them.
    render_as_batch=True,
    transactional_ddl=True,
    # On SQLite all are in the caller's one. On PostgreSQL, what one migration has locked is free
    # again before the next, and an index can be made outside of any transaction.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
