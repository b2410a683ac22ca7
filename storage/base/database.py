"""Opening the database, and transactions whose errors say what to do.

SQLite serves one machine, PostgreSQL more than one. Both behave the same here: a transaction that
writes queues up at once, a commit that returned is on disk, and what the driver raises is mapped
onto `deadpan.core.errors`, without a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from deadpan.core import database_url
from deadpan.core.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    SchemaError,
    SettingsError,
    StorageError,
)
from storage.base import sqlite

#: How long a connection to PostgreSQL may take, unless its URL says otherwise (`connect_timeout`).
CONNECT_TIMEOUT_SECONDS = 5
#: How long a slot waits for a connection of the pool.
POOL_TIMEOUT_SECONDS = 15
#: A worker has a few slots and a health check; the overflow covers a console on the same engine.
POOL_SIZE = 5
POOL_OVERFLOW = 10

_SETTING = "DEADPAN_DATABASE_URL"
_EXAMPLES = (
    "use sqlite:////absolute/path/deadpan.db or postgresql://user:password@host:5432/database"
)
#: SQLSTATE of a table or column that is not there.
_MISSING = {"42P01", "42703", "3F000"}
#: SQLSTATE of a right that the role lacks.
_NO_RIGHT = "42501"
#: What PostgreSQL, PgBouncer and libpq say of a connection that no waiting brings about. A failed
#: connection has no SQLSTATE; a server that speaks another language is waited for.
_REFUSED = re.compile(
    r"authentication failed|does not exist|no such (database|user)|no password supplied"
    r"|pg_hba\.conf|not permitted to log in|permission denied for database"
    r"|does not support SSL|certificate verify failed|received invalid response",
    re.IGNORECASE,
)


def connect(url: str, *, pool_size: int = POOL_SIZE) -> Engine:
    """Opens `sqlite:///PATH` (parent folders are created) or `postgresql://…`; it connects on first
    use. SettingsError if Deadpan cannot use such a database.
    """
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite.engine(parsed, pool_size=pool_size, pool_timeout=POOL_TIMEOUT_SECONDS)
    return _postgresql_engine(parsed, pool_size)


def read_url(url: str) -> URL:
    """Parses a URL without opening anything; SettingsError if Deadpan cannot use the database."""
    try:
        parsed = database_url.parsed(url)
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            sqlite.check(parsed)
        elif parsed.drivername == database_url.POSTGRESQL and not (
            parsed.host or "host" in parsed.query or parsed.database
        ):
            raise ValueError("it names neither a host nor a database")
    except ValueError as error:
        raise SettingsError(
            f"{_SETTING}: {_without_password(url)!r} is not a database URL: {error}; {_EXAMPLES}"
        ) from None
    if parsed.drivername in (database_url.POSTGRESQL, "sqlite", "sqlite+pysqlite"):
        return parsed
    instead = (
        "write it as postgresql://…; Deadpan includes that driver"
        if kind == "postgresql"
        else "Deadpan's own tables are kept in SQLite or PostgreSQL; the platform's database is "
        "named in DEADPAN_SOURCE_DATABASE_URL"
    )
    raise SettingsError(
        f"{_SETTING}: {_without_password(url)!r} names the database {parsed.drivername!r}, which "
        f"cannot be used; {instead}; {_EXAMPLES}"
    )


def writable_problem(engine: Engine) -> str | None:
    """Says why nothing can be written to a database that answers; None if it can."""
    if engine.dialect.name != "postgresql":
        return None
    with transaction(engine) as connection:
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "off":
            return None
    return f"{describe(engine)} is read-only, as a replica is; point {_SETTING} at the primary"


def describe(engine: Engine) -> str:
    """Names the database for a message, by host and name or by path; never a password."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return f"SQLite database {url.database}"
    host = url.host or url.query.get("host") or "the local socket"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL database {url.database or 'of the default name'!r} at {host}{port}"


@contextmanager
def transaction(engine: Engine, *, read_only: bool = False) -> Iterator[Connection]:
    """Runs one transaction: committed when the block ends, rolled back when it raises.

    Args:
        read_only: it waits for no writer, and a write in it fails.

    Raises:
        DatabaseUnavailable: the database is away, or failed in the middle. After a failure at the
            commit it may have happened or not; what `record` stores can safely be stored again.
        DatabaseRefused: of these, what waiting does not fix, such as a wrong password.
        SchemaError: a table or column is missing.
        StorageError: the database refused a statement for another reason.
    """
    with in_words(engine), engine.connect() as connection:
        if read_only:
            connection = connection.execution_options(
                postgresql_readonly=True, **{sqlite.READ_ONLY_OPTION: True}
            )
        with connection.begin():
            yield connection


def folder_of(engine: Engine) -> Path | None:
    """The folder of an SQLite database; None for others."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database)).absolute().parent


@contextmanager
def in_words(engine: Engine) -> Iterator[None]:
    """Maps what the driver raises in the block as `transaction` says."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise _in_words(engine, error) from error


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite_dialect.Insert:
    """An INSERT that knows ON CONFLICT, which has one spelling here and two constructs."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite_dialect.insert(table)


def dispose(engine: Engine) -> None:
    """Closes the pool's connections; those in use close when they are returned."""
    engine.dispose()


def _postgresql_engine(url: URL, pool_size: int) -> Engine:
    query = {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), **url.query}
    return create_engine(
        url.set(query=query),
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # Parameters are post ids and authors; they belong in no log.
        hide_parameters=True,
        connect_args={
            # Without these, a connection to a machine that lost its power blocks for two hours.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "deadpan",
            # A pooler that hands a connection on after each transaction (PgBouncer) hands on its
            # prepared statements too, to others that do not know them.
            "prepare_threshold": None,
        },
    )


def _in_words(engine: Engine, error: DBAPIError | PoolTimeout) -> StorageError:
    name = describe(engine)
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(
            f"{name}: no connection became free within {POOL_TIMEOUT_SECONDS} s; "
            "use fewer slots, or check what holds the connections"
        )
    said = _first_line(engine, error)
    if _is_missing(error):
        return SchemaError(f"{name}: {said}; run `deadpan db migrate`")
    if _is_away(error):
        kind = DatabaseRefused if _is_refused(engine, error) else DatabaseUnavailable
        return kind(f"{name}: {said}; {_remedy(engine, said)}")
    return StorageError(f"{name} refused a statement: {said}")


def _is_missing(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlstate", None) in _MISSING:
        return True
    return re.match(r"no such (table|column)|table \w+ has no column", str(error.orig)) is not None


def _is_away(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return True
    # PostgreSQL during a failover is a standby, which refuses writes with an internal error.
    # A right that is missing stops all posts too, and is the fault of none of them.
    # SQLite says of a file that is damaged, or none of its own, DatabaseError and nothing narrower.
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate in ("25006", _NO_RIGHT) or type(error) is DatabaseError


def _is_refused(engine: Engine, error: DBAPIError) -> bool:
    # A file is there or not; only another process that writes makes it a matter of time.
    if engine.url.get_backend_name() == "sqlite":
        return "locked" not in str(error.orig)
    no_right = getattr(error.orig, "sqlstate", None) == _NO_RIGHT
    return no_right or _REFUSED.search(str(error.orig)) is not None


def _first_line(engine: Engine, error: DBAPIError) -> str:
    # Only the first: the lines below it quote rows ("DETAIL: Key (post_id)=…").
    lines = str(error.orig).strip().splitlines()
    said = lines[0][:300] if lines else type(error.orig).__name__
    password = engine.url.password
    return said.replace(str(password), "***") if password else said


def _remedy(engine: Engine, said: str) -> str:
    if "permission denied" in said:
        return "grant its role that right; see docs/security.md"
    if engine.url.get_backend_name() != "sqlite":
        return f"check that it is running and that {_SETTING} is right"
    if "locked" in said:
        return "another process has been writing for a long time; check which"
    if "full" in said:
        return "free space on its disk"
    if "not a database" in said or "malformed" in said:
        return f"restore it from a backup, or point {_SETTING} at another file"
    return "check that the file and its folder can be read and written"


def _without_password(url: str) -> str:
    """What may be shown of a URL that cannot be parsed. Anything between the scheme and the last @
    may be a password, and so may everything else if the @ was forgotten.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if re.fullmatch(r"[\w./-]*", url) else "…"
    if "@" in rest:
        return f"{scheme}://***@{rest.rpartition('@')[2].partition('?')[0]}"
    rest = rest.partition("?")[0]
    return f"{scheme}://{rest}" if scheme.startswith("sqlite") else f"{scheme}://…"
