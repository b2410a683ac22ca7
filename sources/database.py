"""The platform's SQL database as a post source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.types import NullType

from deadpan.core import database_url
from deadpan.core.errors import SettingsError
from deadpan.core.post_fields import WrongFieldError, read_id
from sources.absence import Absence, Outcome, Question
from sources.answer import Answer
from sources.mapping import PostMapping, post_of
from sources.pictures.allowed import ImageLimits
from sources.post import Found, Post, failures
from sources.source import Look, PicturedSource

_COLUMNS = PostMapping()


class DatabaseSource(PicturedSource):
    """Fetches posts with one query; never writes.

    Args:
        url: of the platform's database, as SQLAlchemy takes it.
        query: gives columns id, text and, if there are, images (a JSON list of URLs), author,
            created_at, language, parent and url, for the ids in `:ids`, as in `… WHERE id IN :ids`.
        timeout_seconds: to connect, and again for the query.
        ids_per_request: at most in one query.
        look: is shown the row of each post.

    Raises:
        SettingsError: the URL or the query cannot be used.
    """

    def __init__(
        self,
        url: str,
        query: str,
        *,
        timeout_seconds: float = 10.0,
        limits: ImageLimits | None = None,
        ids_per_request: int = 64,
        threads: int = 8,
        look: Look | None = None,
    ) -> None:
        problems = database_problems(url, query)
        if problems:
            raise SettingsError(problems)
        super().__init__(limits, threads)
        self._engine = read_only_engine(database_url.parsed(url), timeout_seconds, threads)
        # Without a type: as text, PostgreSQL would refuse to compare the ids with a number column.
        ids = bindparam("ids", expanding=True, type_=NullType())
        self._query = text(query.rstrip().rstrip(";")).bindparams(ids)
        self._look = look
        self._absence = Absence(ids_per_request, source="the post database")

    def close(self) -> None:
        """Give back connections and threads."""
        super().close()
        self._engine.dispose()

    def find(self, post_ids: Sequence[str]) -> dict[str, Found]:
        """Fetch posts without their images."""
        found: dict[str, Found] = {}
        size = self._absence.at_most
        questions = [
            Question(tuple(post_ids[at : at + size])) for at in range(0, len(post_ids), size)
        ]
        while questions:
            results, again = self._ask(questions.pop())
            found |= results
            questions += again
        return found

    def _ask(self, question: Question) -> Outcome:
        group = question.ids
        try:
            with self._engine.connect() as connection:
                result = connection.execute(self._query, {"ids": list(question.asked)})
                absent = [f"'{name}'" for name in ("id", "text") if name not in list(result.keys())]
                if absent:
                    problem = f"DEADPAN_SOURCE_QUERY gives no column {', '.join(absent)}"
                    return failures(group, problem, transient=False), []
                rows = [dict(row) for row in result.mappings()]
        except (SQLAlchemyError, UnicodeError) as error:
            is_away = isinstance(error, OperationalError | InterfaceError | PoolTimeout)
            if is_away or (isinstance(error, DBAPIError) and error.connection_invalidated):
                problem = f"the post database cannot be asked: {why(error)}"
                return failures(group, problem, outage=True), []
            # One id that the database cannot read, such as letters for a number column, fails the
            # whole query; alone, it fails only itself.
            if len(group) > 1:
                return {}, question.halves()
            problem = f"the post database refuses the query: {why(error)}"
            return failures(group, problem, transient=False), []
        answer = Answer(tuple((_id_of(row), row) for row in rows))
        return self._absence.outcome(question, answer, self._post)

    def _post(self, post_id: str, row: dict[str, Any]) -> Post:
        if self._look is not None:
            self._look(post_id, row)
        return post_of(post_id, _checked(row), _COLUMNS)


def _id_of(row: Mapping[str, Any]) -> str | None:
    value = row["id"]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    post_id = read_id(value)
    if post_id is None and value is not None and not isinstance(value, bool | str):
        return str(value)  # a UUID
    return post_id


def _checked(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row whose images, where they are text, are JSON or an address."""
    images = row.get("images")
    if isinstance(images, str) and not images.strip().startswith(("[", "{", "http:", "https:")):
        if images.strip() not in ("", "null", "false"):
            raise WrongFieldError("field 'images' is text, but neither JSON nor a URL")
        return {**row, "images": None}
    return row


def why(error: Exception) -> str:
    """Gives the driver's own words, first line only: SQLAlchemy adds the query and all its ids."""
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines()
    return (lines[0] if lines else type(original).__name__)[:300]


def read_only_engine(
    url: URL, timeout_seconds: float, connections: int, *, statement_seconds: float | None = None
) -> Engine:
    """An engine that cannot write.

    Args:
        statement_seconds: for one statement; as long as to connect when left out.
    """
    limit_seconds = timeout_seconds if statement_seconds is None else statement_seconds
    name = url.get_backend_name()
    options: dict[str, Any] = {}
    if name == "sqlite":
        options["connect_args"] = {"timeout": timeout_seconds}
    else:
        options |= {"pool_size": connections, "pool_timeout": timeout_seconds}
    if name == "postgresql":
        options["connect_args"] = {"connect_timeout": max(2, round(timeout_seconds))}
        if url.drivername == database_url.POSTGRESQL:
            # Behind a pooler that hands connections on, others would meet our statements.
            options["connect_args"]["prepare_threshold"] = None
        options["execution_options"] = {"postgresql_readonly": True}
    engine = create_engine(url, pool_pre_ping=True, **options)
    if name == "sqlite":

        @event.listens_for(engine, "connect")
        def refuse_writes(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA query_only = ON")

    if name == "postgresql":
        limit_ms = max(1, round(limit_seconds * 1000))

        @event.listens_for(engine, "begin")
        def limit_statements(connection: Connection) -> None:
            # For the transaction alone, and not as an option of the connection: PgBouncer refuses
            # those, and hands a connection on with what was set for longer. By a cursor of the
            # driver: where rows are streamed, SQLAlchemy would declare one for it on the server.
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {limit_ms}")

    return engine


def database_problems(url: str | None, query: str | None) -> list[str]:
    """What is wrong with the settings of a database source, without connecting to it."""
    problem = _url_problem(url)
    problems = [] if problem is None else [problem]
    if not query:
        problems.append(
            "DEADPAN_SOURCE is 'database', and DEADPAN_SOURCE_QUERY is not set; set it to a query "
            "such as SELECT id, text, images FROM posts WHERE id IN :ids"
        )
    elif ":ids" not in query:
        problems.append("DEADPAN_SOURCE_QUERY has no :ids; add it, as in … WHERE id IN :ids")
    return problems


def _url_problem(url: str | None) -> str | None:
    if not url:
        return (
            "DEADPAN_SOURCE is 'database', and DEADPAN_SOURCE_DATABASE_URL is not set; "
            "set it to the platform's database, such as postgresql://reader@db/platform"
        )
    try:
        parsed = database_url.parsed(url)
        problem = database_url.driver_problem(parsed)
    except ValueError as error:
        problem = str(error)
    if problem:
        return f"DEADPAN_SOURCE_DATABASE_URL is not a usable database URL: {problem}"
    path = Path(parsed.database or ":memory:")
    is_file = parsed.get_backend_name() == "sqlite" and "uri" not in parsed.query
    # SQLite would make an empty database of a wrong name, and every post be gone.
    if is_file and str(path) != ":memory:" and not path.is_file():
        return f"DEADPAN_SOURCE_DATABASE_URL: there is no file '{path}'"
    return None
