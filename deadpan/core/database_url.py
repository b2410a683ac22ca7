"""Reads database URLs, ours and the platform's alike. Knows no settings."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from psycopg import pq
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

POSTGRESQL: Final = "postgresql+psycopg"
_POSTGRESQL_NAMES: Final = frozenset({"postgresql", "postgres", POSTGRESQL})

_PACKAGES: Final = {
    "mysqldb": "mysqlclient, or PyMySQL and write mysql+pymysql://…",
    "pymysql": "PyMySQL",
    "mysqlconnector": "mysql-connector-python",
    "mariadbconnector": "mariadb",
    "psycopg2": "psycopg2-binary, or write postgresql://…; Deadpan includes that driver",
    "pg8000": "pg8000, or write postgresql://…; Deadpan includes that driver",
    "pyodbc": "pyodbc, and the ODBC driver of your database",
    "pymssql": "pymssql",
    "oracledb": "oracledb",
    "cx_oracle": "oracledb and write oracle+oracledb://…",
}
_SYNCHRONOUS: Final = {
    "postgresql": "postgresql://…",
    "mysql": "mysql+pymysql://…",
    "mariadb": "mariadb+pymysql://…",
    "sqlite": "sqlite:///PATH",
    "mssql": "mssql+pyodbc://…",
    "oracle": "oracle+oracledb://…",
}
_DIALECTS: Final = {
    "cockroachdb": "sqlalchemy-cockroachdb",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "clickhouse": "clickhouse-sqlalchemy",
    "db2": "ibm_db_sa",
    "trino": "trino",
}


def parsed(url: str) -> URL:
    """Parse a URL; PostgreSQL, under any name, gets the driver that Deadpan brings.

    Raises:
        ValueError: it is invalid; the text says why and quotes no secret.
    """
    try:
        read = make_url(url.strip())
    except (ArgumentError, TypeError, ValueError):
        raise ValueError(
            "it cannot be parsed; write KIND://USER:PASSWORD@HOST:PORT/NAME, and percent-encode "
            "special characters (@ : / ? # %) in a password (# is %23)"
        ) from None
    if read.drivername in _POSTGRESQL_NAMES:
        read = read.set(drivername=POSTGRESQL)
        if problem := _unknown_option(read):
            raise ValueError(problem)
    return read


def driver_problem(url: URL) -> str | None:
    """Why no connection is possible with what is installed, with the remedy; None if one is.

    Args:
        url: from `parsed`.
    """
    name = url.drivername
    try:
        dialect = url.get_dialect()
    except (NoSuchModuleError, ArgumentError, ValueError):
        kind = url.get_backend_name()
        if package := _DIALECTS.get(kind):
            return f"{kind} needs a package that is not installed: pip install {package}"
        return (
            f"{name!r:.80} is not a database that SQLAlchemy knows here; it knows "
            f"{', '.join(sorted(_SYNCHRONOUS))}; others need a package of their own"
        )
    if dialect.is_async:
        instead = _SYNCHRONOUS.get(url.get_backend_name(), "one that is not")
        return f"{name!r} names an asynchronous driver, which cannot be used; write {instead}"
    try:
        dialect.import_dbapi()
    except ImportError as error:
        package = _PACKAGES.get(dialect.driver, dialect.driver)
        return f"its driver {dialect.driver} cannot be loaded ({error}); pip install {package}"
    return None


def _unknown_option(url: URL) -> str | None:
    known = sorted({default.keyword.decode() for default in pq.Conninfo.get_defaults()})
    for option in url.query:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            meant = f"did you mean {near[0]}?" if near else "leave it out"
            return f"its option {option!r:.80} is unknown to PostgreSQL's client; {meant}"
    return None
