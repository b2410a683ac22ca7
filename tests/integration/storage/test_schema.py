"""Migrations, and what is said of a database with another schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, PrimaryKeyConstraint, inspect, text

from deadpan.core.errors import SchemaError
from storage.base.database import connect, transaction
from storage.judging.outcomes import record
from storage.migrations import schema
from storage.migrations.schema import migrate, require_schema, schema_problem
from storage.tables import metadata
from tests.postgres import run_at_once

#: SQLAlchemy reads no expression in an index back from SQLite.
_EXPRESSIONS = pytest.mark.filterwarnings(
    "ignore:Skipped unsupported reflection", "ignore:autogenerate skipping metadata-specified"
)
IN_ORDER = ("ix_flags_place", "ix_flags_queue_place", "ix_flags_language_place")


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


def _set_revision(engine: Engine, revision: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})


def test_an_empty_database_is_refused_and_then_migrated(empty: Engine) -> None:
    with pytest.raises(SchemaError, match="has no Deadpan tables yet; run `deadpan db migrate`"):
        require_schema(empty)
    migrate(empty)
    require_schema(empty)
    migrate(empty)
    assert schema_problem(empty) is None


@_EXPRESSIONS
def test_migrations_make_the_tables_that_the_code_uses(database: Engine) -> None:
    def comparable(_: object, name: str | None, *__: object) -> bool:
        # SQLAlchemy reads no descending index back from SQLite; the next test looks at it.
        descending = ("ix_flags_priority", "ix_explanations_pending", *IN_ORDER)
        return not (database.dialect.name == "sqlite" and name in descending)

    with transaction(database, read_only=True) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": comparable}
        )
        assert compare_metadata(context, metadata) == []


@_EXPRESSIONS
def test_migrations_make_what_alembic_does_not_compare(database: Engine) -> None:
    kind = database.dialect.name
    inspector = inspect(database)
    for table in metadata.sorted_tables:
        stated = {
            each.name for each in table.constraints if not isinstance(each, PrimaryKeyConstraint)
        }
        found = {each["name"] for each in inspector.get_check_constraints(table.name)}
        found |= {each["name"] for each in inspector.get_unique_constraints(table.name)}
        found |= {each["name"] for each in inspector.get_foreign_keys(table.name)}
        assert found == stated
    with transaction(database, read_only=True) as connection:
        catalogue = {
            "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index'",
            "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
        }
        rows = connection.execute(text(catalogue[kind])).all()
        indexes = {row[0]: row[1] for row in rows}
        assert "priority DESC" in indexes["ix_flags_priority"]
        assert "priority DESC" in indexes["ix_explanations_pending"]
        assert "WHERE" in indexes["ix_explanations_wanted"]
        for name in IN_ORDER:
            assert re.search(
                r"priority DESC, coalesce\(rank_at, opened_at\), id", indexes[name], re.IGNORECASE
            )
        assert "WHERE" in indexes["uq_flags_unclosed_post_id"]
        assert "WHERE" in indexes["uq_dead_letters_unreplayed_post_id"]


def test_a_database_of_a_newer_deadpan_that_works_with_this_one_stays_as_it_is(
    database: Engine,
) -> None:
    _set_revision(database, "9999")
    require_schema(database)
    migrate(database)
    with transaction(database, read_only=True) as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        oldest = connection.execute(text("SELECT oldest_revision FROM compatibility")).all()
    assert found == "9999"
    assert oldest == [(schema.OLDEST_REVISION,)]


def test_a_database_of_a_newer_deadpan_is_refused(database: Engine) -> None:
    _set_revision(database, "9999")
    with transaction(database) as connection:
        connection.execute(text("UPDATE compatibility SET oldest_revision = '9999'"))
    with pytest.raises(SchemaError, match="migrated by a newer Deadpan"):
        require_schema(database)
    with pytest.raises(SchemaError, match="migrated by a newer Deadpan"):
        migrate(database)


def test_a_database_behind_is_refused(database: Engine) -> None:
    _set_revision(database, "0001")
    with pytest.raises(SchemaError, match="older schema; run `deadpan db migrate`"):
        require_schema(database)


def test_a_database_without_tables_says_so_when_it_is_written_to(empty: Engine) -> None:
    with (
        pytest.raises(SchemaError, match="run `deadpan db migrate`"),
        transaction(empty) as connection,
    ):
        connection.execute(text("SELECT post_id FROM verdicts"))


def test_threads_may_migrate_at_once(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty] * 4))
    require_schema(empty)


def test_processes_may_migrate_at_once(empty: Engine, database_url: str) -> None:
    program = """
import sys
from storage.base.database import connect
from storage.migrations.schema import migrate
print("ready", flush=True)
sys.stdin.read()
engine = connect(sys.argv[1])
migrate(engine)
engine.dispose()
"""
    run_at_once(program, database_url, times=4)
    require_schema(empty)


def test_nothing_is_needed_from_the_working_directory(
    empty: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    migrate(empty)
    with transaction(empty) as connection:
        record(connection, verdicts=[])
