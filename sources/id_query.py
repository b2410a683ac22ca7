"""Many post ids in order: from a query on the platform's SQL database.

The query is put into another one, which sorts by id and goes on after the last one that was given.
Its rows come by a server-side cursor, which is opened anew now and then: a transaction that stayed
open for as long as a backfill takes would keep PostgreSQL from clearing away old rows.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Result, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NullType

from deadpan.core import database_url
from deadpan.core.errors import ConfigurationError, SourceError
from sources.database import read_only_engine, why

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 300.0
"""Sorting millions of ids that no index sorts takes a while."""

COUNT_SECONDS = 10.0
"""So long may counting the ids take, which is for the time that is left alone."""

CURSOR_SECONDS = 30.0
"""A cursor is opened anew after so long."""

_ROWS_AT_ONCE = 1000


class IdQuery:
    """Ids that a query gives; never writes.

    Args:
        url: of the platform's database, as SQLAlchemy takes it.
        query: gives one column, the post id: numbers, text or UUIDs. NULL is no id.

    Raises:
        ConfigurationError: the URL cannot be used.
    """

    unit = "row"

    def __init__(self, url: str, query: str, *, cursor_seconds: float = CURSOR_SECONDS) -> None:
        self.kind = f"query {hashlib.blake2b(query.encode(), digest_size=8).hexdigest()}"
        self.last: bytes | None = None
        self._query = query.rstrip().rstrip(";")
        self._cursor_seconds = cursor_seconds
        self._rows = 0
        self._after: int | str | None = None
        self._total: int | None = None
        self._column = ""
        self._recent: deque[int | str] = deque(maxlen=_ROWS_AT_ONCE)
        self._connection: Connection | None = None
        self._result: Result[Any] | None = None
        try:
            parsed = database_url.parsed(url)
            if problem := database_url.driver_problem(parsed):
                raise ValueError(problem)
        except ValueError as error:
            raise ConfigurationError(f"--database is not a usable database URL: {error}") from None
        self._engine = read_only_engine(
            parsed, CONNECT_SECONDS, 1, statement_seconds=STATEMENT_SECONDS
        )

    @property
    def place(self) -> dict[str, Any]:
        """Rows before it, and the last id."""
        return {"rows": self._rows, "after": self._after}

    @property
    def fraction(self) -> float | None:
        """By rows; None where counting them takes too long."""
        return min(1.0, self._rows / self._total) if self._total else None

    def start(self, place: Mapping[str, Any] | None) -> None:
        """Look at what the query gives, and count it."""
        if place is not None:
            self._rows, self._after = place["rows"], place["after"]
            if self._after is not None:
                self.last = str(self._after).encode()
                self._recent.append(self._after)
        with _Told(), self._engine.connect() as connection:
            names = list(connection.execute(self._around("SELECT *", "WHERE 1 = 0")).keys())
            if len(names) != 1:
                raise ConfigurationError(
                    f"--query gives {len(names)} columns ({', '.join(names)}); "
                    "select the post id alone"
                )
            self._column = self._engine.dialect.identifier_preparer.quote(names[0])
        self._total = self._count()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Gives ids, sorted as the database sorts them."""
        with _Told():
            while True:
                until = time.monotonic() + self._cursor_seconds
                for value in self._values():
                    self._rows += 1
                    self._after = value
                    self._recent.append(value)
                    self.last = str(value).encode("utf-8", "surrogateescape")
                    yield self._rows, self.last
                    if self._connection is None or time.monotonic() > until:
                        break
                else:
                    return
                self.rest()

    def rest(self) -> None:
        """End the transaction; what follows is asked for anew."""
        if self._result is not None:
            self._result.close()
            self._result = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Give back the connection."""
        self.rest()
        self._engine.dispose()

    def _values(self) -> Iterator[int | str]:
        """Ids after the last one, from a cursor of its own."""
        column, values = f"q.{self._column}", {}
        condition = f"{column} IS NOT NULL"
        if self._after is not None:
            # Not `>`: where letters' case makes no difference, that would leave others out.
            condition += f" AND {column} >= :after"
            values = {"after": self._after}
        statement = self._around(f"SELECT {column}", f"WHERE {condition} ORDER BY {column}")
        if values:
            # Without a type, or PostgreSQL would refuse to compare text with a UUID.
            statement = statement.bindparams(bindparam("after", type_=NullType()))
        self._connection = self._engine.connect()
        streaming = self._connection.execution_options(yield_per=_ROWS_AT_ONCE)
        self._result = streaming.execute(statement, values)
        # Others that the database takes for equal to the last one were given too.
        given = frozenset(self._recent)
        for (raw,) in self._result:
            value = _plain(raw)
            if value not in given:
                yield value
        self.rest()

    def _count(self) -> int | None:
        try:
            with self._engine.connect() as connection:
                if self._engine.dialect.name == "postgresql":
                    limit = round(COUNT_SECONDS * 1000)
                    connection.execute(text(f"SET LOCAL statement_timeout = {limit}"))
                rows = f"SELECT count(q.{self._column})"
                return int(connection.execute(self._around(rows)).scalar_one())
        except SQLAlchemyError:
            return None

    def _around(self, select: str, end: str = "") -> Any:
        # A line of its own: the query may end with a comment.
        return text(f"{select} FROM (\n{self._query}\n) AS q {end}")


class _Told:
    """Maps what the database says onto our errors."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, SQLAlchemyError):
            raise SourceError(
                f"the database refuses --query, or cannot be asked: {why(error)}", transient=False
            ) from error


def _plain(value: Any) -> int | str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise SourceError(
        f"--query gives {value!r}, of type {type(value).__name__}; cast the id to text",
        transient=False,
    )
