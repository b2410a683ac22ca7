"""Migrating a database to this version's schema, and saying when it has another.

During a rolling upgrade, workers of the version before go on with the newer schema, so migrations
add and remove nothing, and the database says which versions it still works with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import OperationalError

from deadpan.core.errors import DatabaseUnavailable, SchemaError
from storage.base.database import describe, in_words, insert, transaction
from storage.tables import compatibility

OLDEST_REVISION: Final = "0006"
"""The schema of the oldest version whose statements still work on this version's schema. Raise it
only with a migration that removes something, a version after its last use."""

LOCK_TIMEOUT_SECONDS: Final = 3.0
"""A migration that waits for a table makes everybody behind it wait too, so it gives up soon."""
LOCK_TRIES: Final = 20
LOCK_PAUSE_SECONDS: Final = 2.0

#: Any number that no other program uses: "deadpan" in ASCII, seven of eight bytes.
_LOCK = int.from_bytes(b"deadpan", "big")
_WAIT_SECONDS: Final = 0.2
_LOCK_NOT_AVAILABLE: Final = "55P03"
_Standing = Literal["current", "behind", "empty", "newer", "ahead"]
# Alembic hands its context to env.py in a module's global, so one migration a process at a time.
_one_at_a_time = threading.Lock()


def migrate(engine: Engine) -> None:
    """Migrates the database to this version's schema; a newer schema that this version works with
    stays as it is. Several processes may call it at once: one works, the others wait.

    Each migration happens whole or not at all (on SQLite, all of them together). One that does not
    get a table at once gives way and tries again, so that nobody queues up behind it.

    Raises:
        SchemaError: the database was migrated by a newer Deadpan and does not work with this one.
        DatabaseUnavailable: it cannot be reached, or a table was in use all the time.
    """
    with _one_at_a_time:
        if engine.dialect.name == "postgresql":
            with _alone(engine):
                _migrate_without_queues(engine)
        else:
            # On SQLite, the transaction itself is the lock.
            with transaction(engine) as connection:
                _upgrade(connection, engine)
                _write_oldest(connection)


def schema_problem(engine: Engine) -> str | None:
    """Says why this version cannot work with the database, and what to do; None if it can."""
    with transaction(engine, read_only=True) as connection:
        standing = _standing(connection, _config())
    return None if standing in ("current", "newer") else _sentence(standing, engine)


def require_schema(engine: Engine) -> None:
    """Raises SchemaError unless this version works with the database's schema."""
    problem = schema_problem(engine)
    if problem is not None:
        raise SchemaError(problem)


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Holds the migration lock on a connection of its own. It polls: a waiting statement counts as
    an open transaction, for which a concurrent CREATE INDEX would wait in turn.
    """
    with in_words(engine), engine.connect() as connection:
        guard = connection.execution_options(isolation_level="AUTOCOMMIT")
        ask = text("SELECT pg_try_advisory_lock(:lock)")
        while not guard.execute(ask, {"lock": _LOCK}).scalar_one():
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


def _migrate_without_queues(engine: Engine) -> None:
    for left in reversed(range(LOCK_TRIES)):
        try:
            with engine.connect() as connection:
                wait = f"{round(LOCK_TIMEOUT_SECONDS * 1000)}ms"
                try:
                    connection.execute(
                        text("SELECT set_config('lock_timeout', :w, false)"), {"w": wait}
                    )
                    connection.commit()
                    _upgrade(connection, engine)
                finally:
                    # Its lock_timeout is no one else's. It is not detached from the pool before,
                    # for then SQLAlchemy 2.1 refuses to make an index concurrently on it.
                    connection.invalidate()
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            if not left:
                raise DatabaseUnavailable(
                    f"{describe(engine)}: a table to be migrated was in use all the time; look for "
                    "long transactions, and run `deadpan db migrate` again"
                ) from error
        time.sleep(LOCK_PAUSE_SECONDS)
    with transaction(engine) as connection:
        _write_oldest(connection)


def _upgrade(connection: Connection, engine: Engine) -> None:
    config = _config()
    standing = _standing(connection, config)
    if standing == "ahead":
        raise SchemaError(_sentence("ahead", engine))
    if engine.dialect.name == "postgresql":
        connection.commit()  # Alembic begins transactions of its own
    if standing != "newer":
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _write_oldest(connection: Connection) -> None:
    """Only for this version's own schema: a newer one has said so itself."""
    if _standing(connection, _config()) == "current":
        row: dict[str, Any] = {"id": 1, "oldest_revision": OLDEST_REVISION}
        statement = insert(connection, compatibility).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))


def _config() -> Config:
    config = Config()
    # A % is ConfigParser's own sign, and a path may contain one.
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def _standing(connection: Connection, config: Config) -> _Standing:
    script = ScriptDirectory.from_config(config)
    found = set(MigrationContext.configure(connection).get_current_heads())
    if not found:
        return "empty"
    heads = set(script.get_heads())
    if found == heads:
        return "current"
    if found <= {step.revision for step in script.walk_revisions()}:
        return "behind"
    return "newer" if _works_with(connection, max(heads)) else "ahead"


def _works_with(connection: Connection, revision: str) -> bool:
    """Whether a newer database says that it works with this revision's code."""
    if not inspect(connection).has_table(compatibility.name):
        return False
    oldest = connection.execute(select(compatibility.c.oldest_revision)).scalar()
    return oldest is not None and oldest <= revision


def _sentence(standing: _Standing, engine: Engine) -> str:
    name = describe(engine)
    if standing == "ahead":
        return f"{name}: this database was migrated by a newer Deadpan; install that version"
    what = "has no Deadpan tables yet" if standing == "empty" else "has an older schema"
    return f"{name} {what}; run `deadpan db migrate`"
