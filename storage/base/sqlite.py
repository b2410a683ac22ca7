"""SQLite, set up so that several processes and threads may write to it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from deadpan.core.errors import SettingsError

#: How long a writer waits for the one before it.
BUSY_TIMEOUT_SECONDS: Final = 30.0
#: Execution option of a connection whose transaction only reads.
READ_ONLY_OPTION: Final = "deadpan_read_only"


def engine(url: URL, *, pool_size: int, pool_timeout: float) -> Engine:
    """Opens a file for `storage.base.database.connect`, creating its parent folders; SettingsError
    if that fails. `pool_timeout` is in seconds.
    """
    path = check(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DEADPAN_DATABASE_URL: cannot create the folder {path.parent}: {error.strerror}"
        ) from error
    built = create_engine(
        # Absolute from here on: a later change of the working directory must not change the file.
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        pool_size=pool_size,
        max_overflow=10,
        pool_timeout=pool_timeout,
        hide_parameters=True,
    )
    event.listen(built, "connect", _set_up)
    event.listen(built, "begin", _begin)
    event.listen(built, "checkout", _refuse_replaced_file)
    return built


def check(url: URL) -> Path:
    """Returns the file that a URL names; SettingsError if it names none, ValueError with the reason
    if it has something that SQLite's URLs do not.
    """
    if url.host:
        raise ValueError("a path begins after three slashes, as in sqlite:///deadpan.db")
    if not url.database or ":memory:" in url.database or url.database.startswith("file:"):
        raise SettingsError(
            "DEADPAN_DATABASE_URL: a database in memory ends with its process; "
            "name a file, as in sqlite:////absolute/path/deadpan.db"
        )
    if url.query:
        raise ValueError("SQLite URLs take no parameters here")
    return Path(url.database).absolute()


def _set_up(connection: sqlite3.Connection, record: Any) -> None:
    # The driver's own BEGIN comes too late and is deferred; _begin says it instead.
    connection.isolation_level = None
    # Of processes that open a new file at once, each wants to switch it to WAL, and SQLite does not
    # always wait its busy timeout for that lock (with 3.40, 1 of 1200 openings failed at once).
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    # FULL, not NORMAL: with NORMAL a WAL is not synced at each commit, so a power cut could undo
    # the last ones, whose chunks have already been released from Redis: those posts would be lost.
    connection.execute("PRAGMA synchronous = FULL").close()
    connection.execute("PRAGMA foreign_keys = ON").close()
    path = _path(connection)
    record.info["file"] = path, _identity(path)


def _begin(connection: Connection) -> None:
    read_only = bool(connection.get_execution_options().get(READ_ONLY_OPTION))
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    # A transaction that reads first and writes later cannot wait for another writer: SQLite fails
    # it at once with SQLITE_BUSY. IMMEDIATE takes the writer's place in line before it reads.
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _refuse_replaced_file(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
    # An open connection to a file that was deleted or restored from a backup goes on working, on a
    # file that no longer has a name. The pool answers this error with a new connection.
    path, identity = record.info["file"]
    if _identity(path) != identity:
        raise DisconnectionError("the database file was replaced")


def _path(connection: sqlite3.Connection) -> str:
    cursor = connection.execute("PRAGMA database_list")
    try:
        return str(cursor.fetchone()[2])
    finally:
        cursor.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
