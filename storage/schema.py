"""Bringing a database to the schema of this version, and saying when it has another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from deadpan.errors import SchemaError
from storage.database import describe, transaction

#: Any number that no other program uses: "deadpan" in ASCII, seven of eight bytes.
_LOCK = int.from_bytes(b"deadpan", "big")
_Standing = Literal["current", "behind", "empty", "ahead"]
# Alembic hands its context to env.py in a module's global, so one migration a process at a time.
_one_at_a_time = threading.Lock()


def migrate(engine: Engine) -> None:
    """Brings the database to this version's schema, all or nothing. Several processes may call it
    at once: one works, the others wait and find nothing left to do.

    Raises:
        SchemaError: the database was written by a newer Deadpan.
        DatabaseUnavailable: it cannot be reached.
    """
    with _one_at_a_time, transaction(engine) as connection:
        # On SQLite, the transaction itself is the lock.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = _config()
        if _standing(connection, config) == "ahead":
            raise SchemaError(_sentence("ahead", engine))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def schema_problem(engine: Engine) -> str | None:
    """Says why this version cannot work with the database, with the remedy; None if it can.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    with transaction(engine, read_only=True) as connection:
        standing = _standing(connection, _config())
    return None if standing == "current" else _sentence(standing, engine)


def require_schema(engine: Engine) -> None:
    """Raises SchemaError unless the database has this version's schema."""
    problem = schema_problem(engine)
    if problem is not None:
        raise SchemaError(problem)


def _config() -> Config:
    config = Config()
    # A % is ConfigParser's own sign, and a path may contain one.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def _standing(connection: Connection, config: Config) -> _Standing:
    script = ScriptDirectory.from_config(config)
    found = set(MigrationContext.configure(connection).get_current_heads())
    if not found:
        return "empty"
    if found == set(script.get_heads()):
        return "current"
    known = {step.revision for step in script.walk_revisions()}
    return "behind" if found <= known else "ahead"


def _sentence(standing: _Standing, engine: Engine) -> str:
    name = describe(engine)
    if standing == "ahead":
        return f"{name}: this database was written by a newer Deadpan; install that version"
    what = "has no tables of Deadpan yet" if standing == "empty" else "has an older schema"
    return f"{name} {what}; run `deadpan db migrate`"
