"""The platform's database as a post source, on a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from sources.database import DatabaseSource
from sources.post import FetchedPost, FetchFailure, Gone, Post

QUERY = "SELECT id, text, images, author, created_at FROM posts WHERE id IN :ids"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The folder of a PostgreSQL of this module's own, and of the socket it listens on."""
    made = Path(tempfile.mkdtemp(prefix="platform-"))  # short: a socket's path has 107 bytes
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to be
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        shutil.chown(made, user)
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb, pg_ctl = (
        shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, binaries)]))
        for name in ("initdb", "pg_ctl")
    )
    assert initdb, "install PostgreSQL to run this test"
    assert pg_ctl, "install PostgreSQL to run this test"
    data = str(made / "data")

    def run(*command: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, user=user, cwd=made, stdout=quiet, stderr=quiet)

    run(initdb, "-D", data, "-U", "reader", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-c listen_addresses= -k {made} -c fsync=off"
    run(pg_ctl, "-D", data, "-w", "-l", str(made / "log"), "-o", options, "start")
    try:
        with psycopg.connect(host=str(made), user="reader", dbname="postgres") as connection:
            connection.execute(
                "CREATE TABLE posts (id bigint PRIMARY KEY, text text, images jsonb, "
                "author text, created_at timestamptz)"
            )
            connection.execute(
                "INSERT INTO posts VALUES (1, 'one', '[]', 'ann', '2026-03-01T12:00:00Z'),"
                """(2, NULL, NULL, NULL, NULL), (3, 'three', '["a.png"]', NULL, NULL),"""
                """(4, 'four', '{"of": "a.png"}', NULL, NULL)"""
            )
        yield made
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(made)


def opened(folder: Path, query: str = QUERY, timeout_seconds: float = 5.0) -> DatabaseSource:
    return DatabaseSource(
        f"postgresql://reader@/postgres?host={folder}", query, timeout_seconds=timeout_seconds
    )


def test_ids_are_compared_with_a_number_column(folder: Path) -> None:
    source = opened(folder)
    results = source.fetch(["1", "2", "3", "99"])
    source.close()
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert results["1"] == FetchedPost(Post("1", "one", (), "ann", noon))
    assert results["2"] == FetchedPost(Post("2", ""))
    three = results["3"]
    assert isinstance(three, FetchedPost)
    assert three.post.images == ("a.png",)
    assert three.images[0].problem is not None
    assert isinstance(results["99"], Gone)


def test_ids_are_compared_with_a_text_column(folder: Path) -> None:
    source = opened(folder, "SELECT author AS id, text FROM posts WHERE author IN :ids")
    results = source.fetch(["ann", "bob"])
    source.close()
    assert results["ann"] == FetchedPost(Post("ann", "one"))
    assert isinstance(results["bob"], Gone)


def test_one_bad_id_does_not_take_its_neighbours_down(folder: Path) -> None:
    source = opened(folder)
    bad = ["abc", "1; DROP TABLE posts", "nul\x00", "\ud800", "9" * 30]
    results = source.fetch(["1", *bad, "4", "2"])
    source.close()
    for post_id in [*bad, "4"]:
        result = results[post_id]
        assert isinstance(result, FetchFailure | Gone), result
        assert not isinstance(result, FetchFailure) or not result.transient
    assert isinstance(results["abc"], FetchFailure)
    assert isinstance(results["1"], FetchedPost)
    assert isinstance(results["2"], FetchedPost)


def test_the_database_is_not_written_to(folder: Path) -> None:
    source = opened(folder, "DELETE FROM posts WHERE id IN :ids RETURNING id, text")
    result = source.fetch(["1"])["1"]
    source.close()
    assert isinstance(result, FetchFailure)
    assert "read-only" in result.error


def test_a_query_that_takes_too_long_is_asked_again_later(folder: Path) -> None:
    source = opened(
        folder,
        "SELECT id, text FROM posts, pg_sleep(30) WHERE id IN :ids",
        timeout_seconds=0.2,
    )
    result = source.fetch(["1"])["1"]
    source.close()
    assert isinstance(result, FetchFailure)
    assert result.transient


def test_nothing_outlives_a_transaction_so_that_a_pooler_may_stand_between(folder: Path) -> None:
    """PgBouncer in transaction mode hands a connection on with the statements that were prepared on
    it and what was set for its session, and refuses options that come with a connection."""
    source = opened(
        folder,
        "SELECT id, current_setting('statement_timeout') || ' ' || (SELECT count(*) FROM "
        "pg_prepared_statements) AS text FROM posts WHERE id IN :ids",
    )
    for _ in range(12):
        assert source.fetch(["1"])["1"] == FetchedPost(Post("1", "5s 0"))
    with source._engine.pool.connect() as connection:
        driver = connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        assert "options" not in driver.info.get_parameters()
        driver.read_only = None
        assert driver.execute("SHOW statement_timeout").fetchone() == ("0",)
    source.close()


def test_options_of_the_url_are_kept(folder: Path) -> None:
    source = DatabaseSource(
        f"postgres://reader@/postgres?host={folder}&options=-csearch_path%3Delsewhere\n",
        "SELECT id, current_setting('search_path') AS text FROM public.posts WHERE id IN :ids",
    )
    assert source.fetch(["1"])["1"] == FetchedPost(Post("1", "elsewhere"))
    source.close()


def test_a_database_that_restarted_is_asked_over_a_new_connection(folder: Path) -> None:
    source = opened(folder)
    assert isinstance(source.fetch(["1"])["1"], FetchedPost)
    with psycopg.connect(host=str(folder), user="reader", dbname="postgres") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND usename = 'reader'"
        )
    assert isinstance(source.fetch(["1"])["1"], FetchedPost)
    source.close()


def test_a_database_that_is_away_is_asked_again_later(tmp_path: Path) -> None:
    source = opened(tmp_path)
    results = source.fetch(["1", "2"])
    source.close()
    for result in results.values():
        assert isinstance(result, FetchFailure)
        assert result.transient
