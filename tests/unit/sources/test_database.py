"""The platform's database as a post source, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deadpan.core.errors import SettingsError
from sources.database import DatabaseSource
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedPost, FetchFailure, Gone, Post
from tests.unit.sources.source_server import PNG, Server

QUERY = "SELECT id, text, images, author, created_at FROM posts WHERE id IN :ids"
Opened = Callable[..., DatabaseSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a few posts."""
    path = tmp_path / "platform.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, text, images, author, created_at)"
    )
    connection.executemany(
        "INSERT INTO posts VALUES (?, ?, ?, ?, ?)",
        [
            (1, "one", None, "ann", "2026-03-01 12:00:00"),
            (2, None, "[]", None, None),
            (3, "three", "not json", None, None),
            (4, b"bytes", None, None, None),
            (5, "five", '["http://10.0.0.1/"]', 77, "2026-03-01T12:00:00Z"),
        ],
    )
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def opened(path: Path, limits: ImageLimits) -> Iterator[Opened]:
    sources: list[DatabaseSource] = []

    def open_database(query: str = QUERY, **arguments: object) -> DatabaseSource:
        given: dict[str, object] = {"limits": limits, **arguments}
        sources.append(DatabaseSource(f"sqlite:///{path}", query, **given))  # type: ignore[arg-type]
        return sources[-1]

    yield open_database
    for source in sources:
        source.close()


def test_posts_are_found_by_id_and_absent_ones_are_gone(opened: Opened) -> None:
    results = opened().fetch(["5", "1", "2", "99", "abc"])
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert list(results) == ["5", "1", "2", "99", "abc"]
    assert results["1"] == FetchedPost(Post("1", "one", (), "ann", noon))
    assert results["2"] == FetchedPost(Post("2", ""))
    five = results["5"]
    assert isinstance(five, FetchedPost)
    assert five.post == Post("5", "five", ("http://10.0.0.1/",), "77", noon)
    assert "private network" in (five.images[0].problem or "")
    assert isinstance(results["99"], Gone)
    assert isinstance(results["abc"], Gone)


def test_ids_are_asked_for_a_few_at_a_time(opened: Opened) -> None:
    results = opened(ids_per_request=2).fetch(["1", "2", "5", "6", "7"])
    assert [type(result) for result in results.values()] == [FetchedPost] * 3 + [Gone] * 2


def test_a_limit_in_the_query_loses_no_post(opened: Opened, path: Path) -> None:
    connection = sqlite3.connect(path)
    rows = [(number, f"number {number}") for number in range(100, 150)]
    connection.executemany("INSERT INTO posts (id, text) VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    source = opened("SELECT id, text FROM posts WHERE id IN :ids ORDER BY id DESC LIMIT 7")
    results = source.fetch([*map(str, range(100, 150)), "deleted"])
    assert isinstance(results.pop("deleted"), Gone)
    assert all(isinstance(result, FetchedPost) for result in results.values())


@pytest.mark.parametrize(
    ("kind", "column", "stored", "asked", "words"),
    [
        ("TEXT COLLATE NOCASE", "id", "aBc", "AbC", "in other letters"),
        ("TEXT", "id || '  ' AS id", "abc", "abc", "with spaces around it"),
        ("INTEGER", "id", 7, "007", "as a number"),
        ("INTEGER", "id + 0.0 AS id", 2**60 + 1, str(2**60 + 1), "rounded"),
    ],
)
def test_a_row_under_another_id_is_a_fault_and_its_post_not_gone(
    opened: Opened, path: Path, kind: str, column: str, stored: object, asked: str, words: str
) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE odd (id {kind}, text)")
    connection.execute("INSERT INTO odd VALUES (?, 'here')", (stored,))
    connection.commit()
    connection.close()
    source = opened(f"SELECT {column}, text FROM odd WHERE odd.id IN :ids")
    for ids in ([asked], [asked, "8"]):
        result = source.fetch(ids)[asked]
        assert isinstance(result, FetchFailure)
        assert result.transient
        assert words in result.error


def test_pictures_in_a_column_of_text(opened: Opened, path: Path) -> None:
    connection = sqlite3.connect(path)
    kept = ("", " ", "null", "[]", '[""]', '[null, "http://10.0.0.1/"]', "http://10.0.0.1/")
    for number, images in enumerate(kept, 10):
        connection.execute(
            "INSERT INTO posts (id, text, images) VALUES (?, '', ?)", (number, images)
        )
    connection.commit()
    connection.close()
    results = opened().fetch([str(number) for number in range(10, 17)])
    found = [len(r.post.images) for r in results.values() if isinstance(r, FetchedPost)]
    assert found == [0, 0, 0, 0, 0, 1, 1]


def test_an_id_is_data_and_never_part_of_the_query(opened: Opened) -> None:
    source = opened()
    for strange in ("1) OR (1=1", "1'; DROP TABLE posts; --", ":ids", "%s", "\x00", ""):
        assert isinstance(source.fetch([strange])[strange], Gone)
    assert isinstance(source.fetch(["1"])["1"], FetchedPost)


def test_a_wrong_row_fails_its_own_post_only(opened: Opened) -> None:
    results = opened().fetch(["1", "3", "4"])
    for post_id, field in (("3", "images"), ("4", "text")):
        failure = results[post_id]
        assert isinstance(failure, FetchFailure)
        assert not failure.transient
        assert f"'{field}'" in failure.error
    assert isinstance(results["1"], FetchedPost)


def test_an_id_that_no_database_can_hold_fails_alone(opened: Opened) -> None:
    results = opened().fetch(["1", "\ud800", "2"])
    failure = results["\ud800"]
    assert isinstance(failure, FetchFailure)
    assert not failure.transient
    assert isinstance(results["1"], FetchedPost)
    assert isinstance(results["2"], FetchedPost)


def test_images_may_come_from_the_web(opened: Opened, server: Server, path: Path) -> None:
    server.answer = lambda handler: handler.reply(200, PNG)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE posts SET images = ?", (f'["{server.url}/a.png"]',))
    connection.commit()
    connection.close()
    fetched = opened().fetch(["1"])["1"]
    assert isinstance(fetched, FetchedPost)
    assert fetched.images[0].content == PNG


def test_a_query_without_a_needed_column_names_it(opened: Opened) -> None:
    source = opened("SELECT id, text AS body FROM posts WHERE id IN :ids")
    for result in source.fetch(["1", "2"]).values():
        assert isinstance(result, FetchFailure)
        assert not result.transient
        assert "no column 'text'" in result.error


def test_the_database_is_not_written_to(opened: Opened, path: Path) -> None:
    source = opened("DELETE FROM posts WHERE id IN :ids RETURNING id, text")
    assert isinstance(source.fetch(["1"])["1"], FetchFailure)
    source.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM posts").fetchone() == (5,)
    connection.close()


def test_a_database_that_is_locked_or_away_is_asked_again_later(opened: Opened, path: Path) -> None:
    source = opened(timeout_seconds=0.05)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    results = source.fetch(["1", "2"])
    writer.execute("ROLLBACK")
    writer.close()
    for result in results.values():
        assert isinstance(result, FetchFailure)
        assert result.transient
        assert "locked" in result.error
        assert "SELECT" not in result.error
    assert isinstance(source.fetch(["1"])["1"], FetchedPost)


@pytest.mark.parametrize(
    ("url", "query", "words"),
    [
        ("sqlite:////absent/platform.db", QUERY, "there is no file"),
        ("nonsense", QUERY, "not a usable database URL"),
        ("oracle-of-delphi://db/platform", QUERY, "not a usable database URL"),
        ("", QUERY, "DEADPAN_SOURCE_DATABASE_URL is not set"),
        ("mysql://u:s3cret@h/x", QUERY, "pip install mysqlclient, or PyMySQL"),
        ("mysql+mysqlconnector://u:s3cret@h/x", QUERY, "pip install mysql-connector-python"),
        ("mssql+pyodbc://u:s3cret@h/x", QUERY, "pip install pyodbc"),
        ("oracle://u:s3cret@h/x", QUERY, "pip install oracledb"),
        ("postgresql+psycopg2://u:s3cret@h/x", QUERY, "or write postgresql://"),
        ("postgresql+asyncpg://u:s3cret@h/x", QUERY, "asynchronous driver.*write postgresql://"),
        ("cockroachdb://u:s3cret@h/x", QUERY, "pip install sqlalchemy-cockroachdb"),
        ("mongodb://u:s3cret@h/x", QUERY, "'mongodb' is not a database that SQLAlchemy knows"),
        ("postgresql://u:s3cret@h/x?pgbouncer=true", QUERY, "its option 'pgbouncer' is unknown"),
        ("postgresql://u:s3cret@h/x?ssl_mode=require", QUERY, "did you mean sslmode"),
        ("postgresql://u:s3#cret@h:x/x", QUERY, "percent-encode"),
        ("sqlite://", "", "DEADPAN_SOURCE_QUERY is not set"),
        ("sqlite://", "SELECT 1", "has no :ids"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_wrong_setting(
    url: str, query: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        DatabaseSource(url, query)
    assert "cret" not in str(caught.value)
