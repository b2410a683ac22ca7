"""Redis and the database of the settings, opened for one command and closed at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deadpan.core.settings import load

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tasks.intake.intake import Intake


@contextmanager
def opened_database(*, migrated: bool = True) -> Iterator[Engine]:
    """The database.

    Args:
        migrated: whether it must have the schema of this version.
    """
    from storage.base.database import connect
    from storage.migrations.schema import require_schema

    database = connect(load().database_url.get_secret_value())
    try:
        if migrated:
            require_schema(database)
        yield database
    finally:
        database.dispose()


@contextmanager
def on_database(*, read_only: bool = False) -> Iterator[Connection]:
    """A transaction on the database."""
    from storage.base.database import transaction

    with opened_database() as database, transaction(database, read_only=read_only) as connection:
        yield connection


@contextmanager
def opened_intake() -> Iterator[Intake]:
    """The intake in Redis."""
    from tasks.intake.intake import Intake

    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        yield intake
    finally:
        intake.close()
