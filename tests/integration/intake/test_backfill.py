"""Backfills against a real Valkey: from files, streams and queries, interrupted and resumed."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from deadpan.core.errors import ConfigurationError, DataError, QueueStateError, SourceError
from sources.id_query import IdQuery
from sources.ids import IdFile, IdSource
from tasks.intake.backfill import Backfill, Progress
from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey

COUNT = 4500
"""Four and a half steps."""


def backfill(intake: Intake, source: IdSource, **more: object) -> Backfill:
    return Backfill(intake, source, **{"name": "mine", "priority": "low", **more})  # type: ignore[arg-type]


def pushed(intake: Intake, priority: str = "low") -> list[str]:
    return [raw.decode() for raw in intake.client.lrange(f"deadpan:posts:{priority}", 0, -1)]


def interrupting(after: int) -> Callable[[Progress], None]:
    """Ctrl-C once so many are pushed."""

    def tell(progress: Progress) -> None:
        if progress.pushed >= after:
            raise KeyboardInterrupt

    return tell


Made = tuple[Callable[[], IdSource], list[str]]


@pytest.fixture(params=["plain", "gzipped", "sqlite", "postgresql number", "text", "uuid"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    """Makes a source anew each time, and says which ids it gives."""
    numbers = [str(n) for n in range(1, COUNT + 1)]
    if request.param in ("plain", "gzipped"):
        lines = "".join(f"{n}\n" for n in numbers).encode()
        path = tmp_path / "ids"
        path.write_bytes(gzip.compress(lines) if request.param == "gzipped" else lines)
        yield lambda: IdFile(path), numbers
        return
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "platform.db") as connection:
            connection.execute("CREATE TABLE posts (id INTEGER PRIMARY KEY, old INTEGER)")
            connection.executemany("INSERT INTO posts VALUES (?, 1)", [(n,) for n in numbers])
            connection.execute("INSERT INTO posts VALUES (999999, 0)")
        connection.close()
        url = f"sqlite:///{tmp_path / 'platform.db'}"
        yield lambda: IdQuery(url, "SELECT id FROM posts WHERE old = 1;"), numbers
        return
    url = request.getfixturevalue("postgres_url")
    kind = {"postgresql number": "bigint", "text": "text", "uuid": "uuid"}[request.param]
    value = "md5(n::text)::uuid" if kind == "uuid" else f"n::{kind}"
    with psycopg.connect(url) as connection:
        connection.execute(f'CREATE TABLE posts ("Post id" {kind})')  # type: ignore[arg-type]
        connection.execute(
            f"INSERT INTO posts SELECT {value} FROM generate_series(1, {COUNT}) AS n"  # type: ignore[arg-type]
        )
        connection.execute("INSERT INTO posts VALUES (NULL)")
        ids = [
            str(row[0])
            for row in connection.execute(
                'SELECT "Post id" FROM posts WHERE "Post id" IS NOT NULL ORDER BY 1'
            )
        ]
    yield lambda: IdQuery(url, 'SELECT "Post id" FROM posts -- all of them'), ids


def test_what_was_interrupted_goes_on_where_it_ended_until_all_are_pushed_in_order(
    intake: Intake, made: Made
) -> None:
    source, ids = made
    first = source()
    with pytest.raises(KeyboardInterrupt):
        backfill(intake, first, told=interrupting(2000)).run()
    assert pushed(intake) == ids[:2000]
    second = source()
    seen: list[Progress] = []
    done = backfill(intake, second, told=seen.append).run()
    assert pushed(intake) == ids
    assert (done.before, done.pushed) == (2000, COUNT - 2000)
    assert seen[0].fraction is not None
    assert seen[0].fraction > 0.3
    assert seen[-1].fraction == 1.0
    assert intake.client.hlen("deadpan:backfills") == 0, "one that is through leaves nothing"


def test_lines_that_are_no_ids_are_named_with_their_numbers_and_stop_nothing(
    tmp_path: Path, intake: Intake
) -> None:
    path = tmp_path / "ids"
    long = "x" * 300
    far_too_long = "y" * 200_000
    path.write_bytes(
        f"1\n1\n\n \n{long}\n{far_too_long}\n2\r\n2\na\x00b\n".encode() + b"\xff\n3\n1"
    )
    named: list[tuple[int, str]] = []
    done = backfill(intake, IdFile(path), skipped=lambda *what: named.append(what)).run()
    assert pushed(intake) == ["1", "2", "3", "1"], "the last 1 repeats no line next to it"
    assert done.skipped == {"empty": 2, "unfit": 4, "repeated": 2}
    assert [number for number, _ in named] == [2, 3, 4, 5, 6, 8, 9, 10]
    whys = dict(named)
    assert whys[2] == "it repeats line 1: 1"
    assert "300 bytes" in whys[5]
    assert "longer than 65535 bytes" in whys[6]
    assert "control character" in whys[9]
    assert "not UTF-8" in whys[10]


def test_a_repeated_line_is_seen_across_an_interruption(tmp_path: Path, intake: Intake) -> None:
    path = tmp_path / "ids"
    path.write_text("a\nb\nb\nc\n")
    with pytest.raises(KeyboardInterrupt):
        backfill(intake, IdFile(path), per_second=2.0, told=interrupting(2)).run()
    done = backfill(intake, IdFile(path)).run()
    assert pushed(intake) == ["a", "b", "c"]
    assert done.skipped["repeated"] == 1


def test_a_file_that_was_written_anew_is_refused_and_one_that_grew_is_not(
    tmp_path: Path, intake: Intake
) -> None:
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(COUNT)))
    with pytest.raises(KeyboardInterrupt):
        backfill(intake, IdFile(path), told=interrupting(1000)).run()
    whole = path.read_text()
    for changed in ("x" + whole[1:], whole[:500], "", whole[10:]):
        path.write_text(changed)
        with pytest.raises(DataError, match=r"first 1000 lines.*are different.*--restart"):
            backfill(intake, IdFile(path)).run()
    path.write_text(whole + "more\n")
    backfill(intake, IdFile(path)).run()
    assert pushed(intake) == [*(str(n) for n in range(COUNT)), "more"]


def test_a_gzipped_file_that_is_cut_short_is_named_and_goes_on_once_it_is_whole(
    tmp_path: Path, intake: Intake
) -> None:
    path = tmp_path / "ids.gz"
    ids = [f"{n * n}" for n in range(20_000)]
    whole = gzip.compress("".join(f"{n}\n" for n in ids).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ids\.gz cannot be read after line \d+"):
        backfill(intake, IdFile(path)).run()
    before = pushed(intake)
    assert 0 < len(before) < len(ids)
    path.write_bytes(whole)
    backfill(intake, IdFile(path)).run()
    assert pushed(intake) == ids


def test_no_more_ids_wait_than_may(tmp_path: Path, intake: Intake) -> None:
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(1000)))
    intake.enqueue([f"fresh{n}" for n in range(60)], "high")
    depths, taken, pauses = [], [], 0

    def work(_: float) -> None:
        """What a worker does while the backfill waits."""
        nonlocal pauses
        pauses += 1
        depths.append(intake.waiting("deadpan:celery"))
        taken.extend(intake.client.lpop("deadpan:posts:low", 40) or [])

    source = IdFile(path)
    why: list[str | None] = []
    backfill(intake, source, max_waiting=200, pause=work, told=lambda p: why.append(p.pause)).run()
    assert max(depths) <= 200, "those of high priority count too"
    assert pauses > 10
    assert any("post ids wait; the limit is 200" in each for each in why if each)
    assert [*map(bytes.decode, taken), *pushed(intake)] == [str(n) for n in range(1000)]


def test_valkey_is_waited_for_and_no_id_is_lost_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(20_000)))
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        intake = Intake.at(valkey.url)
        kills = [3000, 9000, 15_000]

        def tell(progress: Progress) -> None:
            if kills and progress.pushed >= kills[0]:
                kills.pop(0)
                os.kill(valkey.process.pid, signal.SIGKILL)

        def mend(_: float) -> None:
            if valkey.process.exit_code is not None:
                valkey.process.start()
                valkey.wait()

        backfill(intake, IdFile(path), told=tell, pause=mend).run()
        assert not kills
        assert pushed(intake) == [str(n) for n in range(20_000)]
        intake.close()


def test_ids_that_redis_forgot_are_pushed_again(tmp_path: Path, intake: Intake) -> None:
    """A failover to a replica that lags: ids and place are both from before."""
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(COUNT)))
    kept: dict[bytes, bytes] = {}

    def tell(progress: Progress) -> None:
        if progress.pushed == 1000:
            kept.update(intake.client.hgetall("deadpan:backfills"))
        if progress.pushed == 3000:
            intake.client.ltrim("deadpan:posts:low", 0, 999)
            intake.client.hset("deadpan:backfills", mapping=kept)

    with pytest.raises(QueueStateError, match="older data; run the same command again"):
        backfill(intake, IdFile(path), told=tell).run()
    backfill(intake, IdFile(path)).run()
    assert pushed(intake) == [str(n) for n in range(COUNT)]


def test_two_runs_at_once_are_told_of_each_other(tmp_path: Path, intake: Intake) -> None:
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(COUNT)))
    others: list[Backfill] = []

    def tell(progress: Progress) -> None:
        if not others:
            others.append(backfill(intake, IdFile(path)))
            others[0].run()

    with pytest.raises(QueueStateError, match="another run moved it on"):
        backfill(intake, IdFile(path), told=tell).run()
    assert pushed(intake) == [str(n) for n in range(COUNT)]


def test_a_name_is_kept_for_one_backfill(tmp_path: Path, intake: Intake) -> None:
    path = tmp_path / "ids"
    path.write_text("".join(f"{n}\n" for n in range(COUNT)))
    with pytest.raises(KeyboardInterrupt):
        backfill(intake, IdFile(path), told=interrupting(1000)).run()
    url = f"sqlite:///{tmp_path / 'other.db'}"
    with pytest.raises(ConfigurationError, match="backfill from something else"):
        backfill(intake, IdQuery(url, "SELECT 1 AS id")).run()
    again = backfill(intake, IdFile(path))
    again.forget()
    assert again.run().pushed == COUNT
    intake.client.hset("deadpan:backfills", "mine", "nonsense")
    with pytest.raises(QueueStateError, match=r"nonsense.*--restart"):
        backfill(intake, IdFile(path)).run()


def test_a_query_is_asked_anew_now_and_then_and_gives_each_id_once(
    tmp_path: Path, intake: Intake
) -> None:
    with sqlite3.connect(tmp_path / "platform.db") as connection:
        connection.execute("CREATE TABLE posts (id TEXT COLLATE NOCASE)")
        ids = ["a", "A", "b", "B", "B", "c"]
        connection.executemany("INSERT INTO posts VALUES (?)", [(i,) for i in ids])
    connection.close()
    url = f"sqlite:///{tmp_path / 'platform.db'}"
    query = IdQuery(url, "SELECT id FROM posts", cursor_seconds=0.0)
    query.start(None)
    given = [raw.decode() for _, raw in query]
    query.close()
    assert set(given) == set(ids), "none is left out where letters' case makes no difference"
    whole = IdQuery(url, "SELECT id FROM posts")
    backfill(intake, whole).run()
    assert set(pushed(intake)) == set(ids)


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("SELECT id, old FROM posts", ConfigurationError, r"2 columns \(id, old\)"),
        ("SELECT nothing FROM posts", SourceError, "nothing"),
        ("DELETE FROM posts RETURNING id", SourceError, "refuses --query"),
        ("SELECT 1.5 AS id", SourceError, "1.5, of type float; cast"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused(
    tmp_path: Path, intake: Intake, query: str, error: type[Exception], words: str
) -> None:
    with sqlite3.connect(tmp_path / "platform.db") as connection:
        connection.execute("CREATE TABLE posts (id INTEGER, old INTEGER)")
    connection.close()
    source = IdQuery(f"sqlite:///{tmp_path / 'platform.db'}", query)
    with pytest.raises(error, match=words):
        backfill(intake, source).run()
