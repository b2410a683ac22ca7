"""Migrating while the database is in use: nobody queues up, and indexes keep no writer out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from deadpan.core.errors import DatabaseUnavailable
from storage.base.database import connect, transaction
from storage.judging import tallies
from storage.judging.outcomes import record
from storage.judging.values import NewVerdict
from storage.migrations import online, schema
from storage.migrations.schema import migrate, require_schema


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[Engine]:
    engine = connect(postgres_url)
    yield engine
    engine.dispose()


def verdict(post_id: str) -> NewVerdict:
    return NewVerdict(post_id, "a" * 64, "m", "c", "p", 0.2, 0.3, 0.5, 0.1)


def at_revision(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def run(engine: Engine, step: Callable[[], Any]) -> None:
    """As Alembic runs a migration."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"transactional_ddl": True, "transaction_per_migration": True}
        )
        with context.begin_transaction(_per_migration=True), Operations.context(context):
            step()


def index_names(engine: Engine) -> set[str | None]:
    return {index["name"] for index in inspect(engine).get_indexes("verdicts")}


def test_a_migration_that_does_not_get_a_table_gives_way_and_tries_again(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_revision(postgresql, "0001")
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(schema, "LOCK_PAUSE_SECONDS", 0.1)
    with postgresql.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.execute(text("SELECT count(*) FROM verdicts"))
        with monkeypatch.context() as patch:
            patch.setattr(schema, "LOCK_TRIES", 2)
            with pytest.raises(DatabaseUnavailable, match="in use all the time"):
                migrate(postgresql)
        monkeypatch.setattr(schema, "LOCK_TRIES", 600)
        going_on = pool.submit(migrate, postgresql)
        # who comes while it tries gets the table all the same
        with transaction(postgresql, read_only=True) as connection:
            connection.execute(text("SELECT count(*) FROM verdicts"))
        assert not going_on.done()
        reader.rollback()
        going_on.result(timeout=100)
    require_schema(postgresql)


def test_an_index_is_made_while_a_transaction_that_writes_is_open(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(postgresql)
    parts = itertools.count()  # else the two writers pick the same part of a tally now and then
    monkeypatch.setattr(tallies.random, "randrange", lambda most: next(parts) % most)
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgresql) as writer:
            record(writer, verdicts=[verdict("1")])
            making = pool.submit(
                run, postgresql, lambda: online.create_index("ix_new", "verdicts", ["author"])
            )
            with postgresql.connect() as watcher:
                asking = text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
                )
                while not watcher.execute(asking).scalar_one():
                    assert not making.done()
                    watcher.rollback()
            # the index waits for the writer; another writer does not wait for the index
            with transaction(postgresql) as other:
                other.execute(text("SET LOCAL lock_timeout = '5s'"))
                record(other, verdicts=[verdict("2")])
            assert not making.done()
        making.result(timeout=100)
    assert "ix_new" in index_names(postgresql)


def test_an_index_whose_making_was_interrupted_is_made_anew(postgresql: Engine) -> None:
    migrate(postgresql)
    with transaction(postgresql) as connection:
        record(connection, verdicts=[verdict("1"), verdict("2")])
        connection.execute(text("UPDATE verdicts SET author = 'ada'"))

    def make() -> None:
        online.create_index("ix_new", "verdicts", ["author"], unique=True)

    with pytest.raises(Exception, match="could not create unique index"):
        run(postgresql, make)
    valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_new'::regclass")
    with transaction(postgresql) as connection:
        assert connection.execute(valid).scalar_one() is False
        connection.execute(text("UPDATE verdicts SET author = post_id"))
    for _ in range(2):
        run(postgresql, make)
        with transaction(postgresql, read_only=True) as connection:
            assert connection.execute(valid).scalar_one() is True


def test_indexes_come_and_go_on_both(database: Engine) -> None:
    for _ in range(2):
        run(database, lambda: online.create_index("ix_a", "verdicts", ["author"], where="id > 1"))
        assert "ix_a" in index_names(database)
    for _ in range(2):
        run(database, lambda: online.drop_index("ix_a", "verdicts"))
        assert "ix_a" not in index_names(database)
