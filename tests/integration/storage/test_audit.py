"""The audit log is append-only in the database: nobody changes it, and only what is old goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, func, insert, select, text, update

from deadpan.core.errors import StorageError
from storage.base.database import transaction
from storage.people import audit
from storage.tables import audit_log, audit_retention

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=40)


def _written(database: Engine) -> None:
    with transaction(database) as connection:
        for subject, when in (("old", OLD), ("young", NOW - timedelta(days=3)), ("new", NOW)):
            audit.write(connection, "ann", "test", subject, now=when)


def _left(database: Engine) -> list[str]:
    with transaction(database, read_only=True) as connection:
        return [each.subject for each in reversed(audit.read(connection, limit=99))]


CHANGES = [
    update(audit_log).values(actor="nobody"),
    update(audit_log).where(audit_log.c.subject == "old").values(at=OLD - timedelta(days=999)),
    update(audit_log).values(id=audit_log.c.id + 100),
    delete(audit_log),
    delete(audit_log).where(audit_log.c.subject == "old"),
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_nobody_changes_or_removes_an_entry(database: Engine, change: object) -> None:
    _written(database)
    with pytest.raises(StorageError, match="the audit log is append-only"):
        with transaction(database) as connection:
            connection.execute(change)  # type: ignore[call-overload]
    assert _left(database) == ["old", "young", "new"]


def test_no_other_statement_gets_around_it(database: Engine) -> None:
    _written(database)
    values = "(id, at, actor, action, subject) VALUES (1, '2026-01-01', 'x', 'x', 'x')"
    tries = {
        "sqlite": [
            f"INSERT OR REPLACE INTO audit_log {values}",
            f"REPLACE INTO audit_log {values}",
            f"INSERT INTO audit_log {values} ON CONFLICT (id) DO UPDATE SET actor = 'x'",
        ],
        "postgresql": [
            "TRUNCATE audit_log",
            f"INSERT INTO audit_log {values} ON CONFLICT (id) DO UPDATE SET actor = 'x'",
            # A table of this session's own is found before ours.
            "CREATE TEMP TABLE audit_retention AS SELECT 1 AS id, now() AS entries_before;"
            "DELETE FROM audit_log WHERE subject = 'old'",
        ],
    }
    for statement in tries[database.dialect.name]:
        with pytest.raises(StorageError, match="the audit log is append-only"):
            with transaction(database) as connection:
                connection.exec_driver_sql(statement)
    assert _left(database) == ["old", "young", "new"]


def test_what_is_older_than_the_period_goes_and_nothing_else(database: Engine) -> None:
    _written(database)
    with transaction(database) as connection:
        audit.let_go(connection, before=NOW - timedelta(days=30))
        connection.execute(delete(audit_log).where(audit_log.c.at < NOW - timedelta(days=30)))
    assert _left(database) == ["young", "new"]
    with pytest.raises(StorageError, match="append-only"):
        with transaction(database) as connection:
            connection.execute(delete(audit_log))
    with pytest.raises(StorageError, match="append-only"):
        with transaction(database) as connection:
            connection.execute(update(audit_log).values(actor="nobody"))
    assert _left(database) == ["young", "new"]
    with transaction(database) as connection:  # another period takes the place of the first
        audit.let_go(connection, before=NOW - timedelta(days=1))
        connection.execute(delete(audit_log).where(audit_log.c.subject == "young"))
        assert connection.execute(select(func.count(audit_retention.c.id))).scalar_one() == 1
    assert _left(database) == ["new"]


@pytest.mark.parametrize("hours", [11, 0, -24])
def test_what_was_just_done_cannot_be_let_go(database: Engine, hours: int) -> None:
    _written(database)
    bound = NOW - timedelta(hours=hours)
    with transaction(database) as connection:
        audit.let_go(connection, before=NOW - timedelta(days=30))
    for statement in (
        update(audit_retention).values(entries_before=bound),
        insert(audit_retention).values(id=1, entries_before=bound),
        insert(audit_retention).values(id=2, entries_before=OLD),
    ):
        with pytest.raises(StorageError):
            with transaction(database) as connection:
                connection.execute(statement)
    with pytest.raises(StorageError, match="entries of the last 12 hours never go"):
        with transaction(database) as connection:
            audit.let_go(connection, before=bound)
    with pytest.raises(StorageError, match="append-only"):
        with transaction(database) as connection:
            connection.execute(delete(audit_log).where(audit_log.c.subject == "new"))


def test_entries_go_on_being_written(database: Engine) -> None:
    _written(database)
    with transaction(database) as connection:
        connection.execute(text("SELECT 1"))
        audit.write(connection, "ann", "test", "another")
    assert _left(database)[-1] == "another"
