"""Transactions, and a database that is away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import StatementError

from deadpan.core.errors import DatabaseRefused, DatabaseUnavailable, SchemaError, StorageError
from storage.base.database import connect, dispose, transaction, writable_problem
from storage.judging import queries
from storage.judging.outcomes import record
from storage.judging.values import GonePost
from storage.migrations.schema import migrate
from storage.tables import gone_posts
from tests.postgres import Postgres


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop without disturbing others."""
    server = Postgres()
    server.start()
    yield server
    server.close()


def test_a_block_that_raises_writes_nothing(database: Engine) -> None:
    def fail_within() -> None:
        with transaction(database) as connection:
            record(connection, verdicts=[], gone=[GonePost("p", "404")])
            raise KeyError("p")

    with pytest.raises(KeyError):
        fail_within()
    with transaction(database, read_only=True) as connection:
        assert queries.counts(connection).gone == 0


def test_a_transaction_for_reading_refuses_to_write(database: Engine) -> None:
    with pytest.raises(StorageError), transaction(database, read_only=True) as connection:
        record(connection, verdicts=[], gone=[GonePost("p", "404")])
    with transaction(database) as connection:
        record(connection, verdicts=[], gone=[GonePost("p", "404")])


def test_moments_are_kept_in_utc_and_naive_ones_refused(database: Engine) -> None:
    east = datetime(2026, 1, 1, 12, 30, 1, 5, tzinfo=timezone(timedelta(hours=9)))
    with transaction(database) as connection:
        record(connection, verdicts=[], gone=[GonePost("p", "404")], now=east)
        kept = connection.execute(gone_posts.select()).one().seen_at
    assert kept == east
    assert kept.utcoffset() == timedelta(0)
    with (
        pytest.raises(StatementError, match="has no time zone"),
        transaction(database) as connection,
    ):
        connection.execute(gone_posts.update().values(seen_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_a_refused_statement_says_why_without_the_values(database: Engine) -> None:
    with pytest.raises(StorageError) as caught, transaction(database) as connection:
        connection.execute(
            gone_posts.insert(), {"post_id": "secret-post", "why": None, "seen_at": None}
        )
    assert "secret-post" not in str(caught.value)
    assert not isinstance(caught.value, DatabaseUnavailable)


def test_ping_answers(database: Engine) -> None:
    queries.ping(database)


def test_two_writers_wait_for_one_another(database: Engine) -> None:
    def read_then_write(number: int) -> None:
        for turn in range(10):
            with transaction(database) as connection:
                queries.counts(connection)
                record(connection, verdicts=[], gone=[GonePost(f"{number}-{turn}", "404")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_then_write, range(4)))
    with transaction(database, read_only=True) as connection:
        assert queries.counts(connection).gone == 40


def test_a_reader_does_not_wait_for_a_writer(database: Engine) -> None:
    with transaction(database) as writer:
        record(writer, verdicts=[], gone=[GonePost("p", "404")])
        with transaction(database, read_only=True) as reader:
            assert queries.counts(reader).gone == 0


def test_sqlite_syncs_every_commit_to_the_disk(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db")
    with transaction(engine) as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_a_postgresql_that_nobody_listens_at_is_unavailable_in_words() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    engine = connect(f"postgresql://somebody:s3cret@127.0.0.1:{port}/deadpan")
    with pytest.raises(DatabaseUnavailable) as caught:
        queries.ping(engine)
    dispose(engine)
    assert "s3cret" not in str(caught.value)
    assert f"'deadpan' at 127.0.0.1:{port}" in str(caught.value)
    assert "DEADPAN_DATABASE_URL" in str(caught.value)
    assert not isinstance(caught.value, DatabaseRefused), "it may be on its way"


def test_a_wrong_password_is_not_repeated(postgres: Postgres) -> None:
    engine = connect(postgres.url().replace(postgres.password, "s3cret"))
    with pytest.raises(DatabaseRefused, match="password authentication failed") as caught:
        queries.ping(engine)
    dispose(engine)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("instead", "of"),
    [("no_such_database", "/postgres"), ("no_such_role", "//deadpan"), ("?sslmode=require", "")],
)
def test_what_waiting_does_not_mend_is_told_from_a_server_that_is_away(
    postgres: Postgres, instead: str, of: str
) -> None:
    url = postgres.url()
    url = url.replace(of, of[: of.rindex("/") + 1] + instead) if of else url + instead
    engine = connect(url)
    with pytest.raises(DatabaseRefused):
        queries.ping(engine)
    dispose(engine)


def test_a_right_that_is_missing_stops_all_and_is_said(
    postgres: Postgres, postgres_url: str
) -> None:
    owner = connect(postgres_url)
    migrate(owner)
    with owner.begin() as connection:
        connection.execute(text("CREATE ROLE limited LOGIN PASSWORD 'limited'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited"))
    limited = connect(postgres_url.replace(f"deadpan:{postgres.password}", "limited:limited"))
    try:
        with pytest.raises(DatabaseRefused, match=r"permission denied .* grant its role"):
            with transaction(limited) as connection:
                record(connection, verdicts=[], gone=[GonePost("p", "404")])
    finally:
        dispose(limited)
        with owner.begin() as connection:
            connection.execute(text("DROP OWNED BY limited"))
            connection.execute(text("DROP ROLE limited"))
        dispose(owner)


def test_a_postgresql_killed_within_a_transaction_is_unavailable_and_comes_back(
    own_postgres: Postgres,
) -> None:
    engine = connect(own_postgres.create_database())
    migrate(engine)

    def record_while_it_ends(end: Callable[[], None]) -> None:
        with transaction(engine) as connection:
            record(connection, verdicts=[], gone=[GonePost("p", "404")])
            end()

    for end in (own_postgres.kill, own_postgres.stop):
        with pytest.raises(DatabaseUnavailable):
            record_while_it_ends(end)
        with pytest.raises(DatabaseUnavailable):
            queries.ping(engine)
        own_postgres.start()
        with transaction(engine, read_only=True) as connection:
            assert queries.counts(connection).gone == 0
    dispose(engine)


def test_connections_broken_while_idle_are_noticed_before_use(own_postgres: Postgres) -> None:
    engine = connect(own_postgres.create_database())
    queries.ping(engine)
    own_postgres.restart()
    queries.ping(engine)
    dispose(engine)


def test_a_sqlite_file_that_is_none_is_unavailable_in_words(tmp_path: Path) -> None:
    path = tmp_path / "deadpan.db"
    path.write_bytes(b"a letter to the editor" * 100)
    engine = connect(f"sqlite:///{path}")
    with pytest.raises(DatabaseRefused, match="not a database; restore it from a backup"):
        queries.ping(engine)
    dispose(engine)


def test_a_folder_in_the_place_of_the_file_is_unavailable_in_words(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="check that the file and its folder"):
        queries.ping(engine)
    dispose(engine)


def test_a_sqlite_file_that_was_deleted_is_not_written_to_in_secret(tmp_path: Path) -> None:
    path = tmp_path / "deadpan.db"
    engine = connect(f"sqlite:///{path}")
    migrate(engine)
    for each in tmp_path.iterdir():
        each.unlink()
    with pytest.raises(SchemaError, match="run `deadpan db migrate`"), transaction(engine) as lost:
        record(lost, verdicts=[], gone=[GonePost("p", "404")])
    migrate(engine)
    with transaction(engine) as connection:
        record(connection, verdicts=[], gone=[GonePost("p", "404")])
    dispose(engine)


def test_a_sqlite_held_by_another_for_too_long_is_unavailable_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.base.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(engine)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction(engine):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with (
        pytest.raises(DatabaseUnavailable, match="locked; another process has been writing"),
        transaction(engine),
    ):
        pass
    done.set()
    holder.join()
    dispose(engine)


def test_a_pool_without_a_free_connection_is_unavailable_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.base.database.POOL_TIMEOUT_SECONDS", 0.05)
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db", pool_size=1)
    held = [engine.connect() for _ in range(11)]
    with pytest.raises(DatabaseUnavailable, match="no connection became free"):
        queries.ping(engine)
    for connection in held:
        connection.close()
    dispose(engine)


def test_no_statement_is_prepared_that_a_pooler_would_hand_on(postgres_url: str) -> None:
    engine = connect(postgres_url)
    for _ in range(12):
        with transaction(engine) as connection:
            asked = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
            assert asked.scalar_one() == 0
    engine.dispose()


def test_a_replica_is_told_from_what_can_be_written(postgres_url: str, database: Engine) -> None:
    assert writable_problem(database) is None
    engine = connect(f"{postgres_url}?options=-cdefault_transaction_read_only%3Don")
    assert "is read-only" in (writable_problem(engine) or "")
    engine.dispose()


def test_utc_is_given_whatever_the_zone_of_the_server(postgres_url: str) -> None:
    engine = connect(postgres_url)
    migrate(engine)
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    with transaction(engine) as connection:
        connection.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
        record(connection, verdicts=[], gone=[GonePost("p", "404")], now=moment)
        kept = connection.execute(gone_posts.select()).one().seen_at
    dispose(engine)
    assert (kept, kept.utcoffset()) == (moment, timedelta(0))
