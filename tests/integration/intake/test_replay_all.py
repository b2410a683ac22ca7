"""`deadpan dead-letters replay --all`: those that are meant, each once, on both databases."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from deadpan.cli import app
from deadpan.commands.dead_letters import since_of
from deadpan.core.errors import ConfigurationError, QueueUnavailable
from storage.base.database import transaction
from storage.judging import queries
from storage.judging.dead_letters import Wanted
from storage.judging.outcomes import record
from storage.judging.values import NewDeadLetter
from storage.keeping import erasure
from storage.people import audit
from tasks.intake import replay
from tasks.intake.intake import Intake
from tasks.intake.replay import ERASED, NO_USABLE_ID, replay_all

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def letters(database: Engine) -> Engine:
    """Four hours of dead letters, two an hour."""
    for hours in range(4):
        with transaction(database) as connection:
            record(
                connection,
                verdicts=[],
                dead_letters=[
                    NewDeadLetter(f"f{hours}", "fetch", "the platform answered 403: Forbidden", 1),
                    NewDeadLetter(f"p{hours}", "predict", "CUDA error: 100% lost", 5),
                ],
                now=NOW - timedelta(hours=hours),
            )
    return database


def pushed(intake: Intake) -> list[str]:
    return sorted(raw.decode() for raw in intake.client.lrange("deadpan:posts", 0, -1))


def waiting(database: Engine) -> list[str]:
    with transaction(database, read_only=True) as connection:
        return sorted(each.post_id for each in queries.dead_letters(connection, limit=10_000))


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Wanted(), ["f0", "f1", "f2", "f3", "p0", "p1", "p2", "p3"]),
        (Wanted(stage="predict"), ["p0", "p1", "p2", "p3"]),
        (Wanted(since=NOW - timedelta(hours=1)), ["f0", "f1", "p0", "p1"]),
        (Wanted(error="forbidden"), ["f0", "f1", "f2", "f3"]),
        (Wanted(error="100% LOST"), ["p0", "p1", "p2", "p3"]),
        (Wanted(error="1_0%"), []),
        (Wanted("predict", NOW, "cuda"), ["p0"]),
        (Wanted(stage="nowhere"), []),
    ],
)
def test_those_that_are_meant_are_pushed_and_no_others(
    letters: Engine, intake: Intake, wanted: Wanted, meant: list[str]
) -> None:
    everything = waiting(letters)
    tried = replay_all(letters, intake, wanted, actor="me", dry_run=True)
    assert (tried.matched, tried.pushed, pushed(intake)) == (len(meant), 0, [])
    done = replay_all(letters, intake, wanted, actor="me")
    assert (done.matched, done.pushed) == (len(meant), len(meant))
    assert pushed(intake) == meant
    assert waiting(letters) == sorted(set(everything) - set(meant))
    again = replay_all(letters, intake, wanted, actor="me")
    assert (again.matched, again.pushed) == (0, 0)
    with transaction(letters, read_only=True) as connection:
        told = audit.read(connection, limit=100)
    assert len(told) == len(meant)
    assert {(each.actor, each.action) for each in told} <= {("me", "dead-letter.replay")}


def test_what_cannot_be_judged_again_is_left_out_and_counted(
    database: Engine, intake: Intake
) -> None:
    with transaction(database) as connection:
        record(
            connection,
            verdicts=[],
            dead_letters=[
                NewDeadLetter("good", "fetch", "x", 1),
                NewDeadLetter("erased", "fetch", "x", 1),
                NewDeadLetter("bad\\x00", "intake", "control characters", 1),
            ],
        )
    with transaction(database) as connection:
        erasure.erase(connection, "post", "erased", requested_by="me")
        again = [NewDeadLetter("erased", "fetch", "x", 1)]
        record(connection, verdicts=[], dead_letters=again)
    done = replay_all(database, intake, Wanted(), actor="me")
    assert pushed(intake) == ["good"]
    assert done.left_out[NO_USABLE_ID] == 1
    assert done.pushed == 1
    assert done.matched == 1 + sum(done.left_out.values())
    assert set(done.left_out) <= {NO_USABLE_ID, ERASED}


def test_many_at_once_are_each_pushed_once_and_those_that_fail_meanwhile_are_left(
    database: Engine, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 7)
    with transaction(database) as connection:
        many = [NewDeadLetter(f"p{n:03}", "fetch", "x", 1) for n in range(100)]
        record(connection, verdicts=[], dead_letters=many)
    fails_again = threading.Event()

    def said(done: int, total: int) -> None:
        if not fails_again.is_set():
            fails_again.set()
            with transaction(database) as connection:
                record(
                    connection, verdicts=[], dead_letters=[NewDeadLetter("new", "fetch", "x", 1)]
                )

    done: list[replay.Replayed] = []
    people = [
        threading.Thread(
            target=lambda n=n: done.append(
                replay_all(
                    database, intake, Wanted(), actor=f"me {n}", said=said if n == 0 else print
                )
            )
        )
        for n in range(3)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(done) == 3
    # Who began after "new" came may have taken it too, once.
    assert [one for one in pushed(intake) if one != "new"] == [f"p{n:03}" for n in range(100)]
    assert sum(each.pushed for each in done) == len(pushed(intake))
    assert pushed(intake).count("new") + waiting(database).count("new") == 1


def test_what_was_not_pushed_waits_for_the_next_time(
    letters: Engine, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 3)
    real = intake.enqueue
    calls = 0

    def away_the_second_time(*args: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise QueueUnavailable("away")
        return real(*args, **more)

    monkeypatch.setattr(intake, "enqueue", away_the_second_time)
    with pytest.raises(QueueUnavailable):
        replay_all(letters, intake, Wanted(), actor="me")
    assert len(pushed(intake)) == 3
    assert len(waiting(letters)) == 5
    replay_all(letters, intake, Wanted(), actor="me")
    assert len(set(pushed(intake))) == len(pushed(intake)) == 8


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90m", timedelta(minutes=90)), ("2h", timedelta(hours=2)), (" 3 d ", timedelta(days=3))],
)
def test_since_may_say_how_long_ago(text: str, ago: timedelta) -> None:
    assert since_of(text, NOW) == NOW - ago


def test_since_may_be_a_day_or_a_moment() -> None:
    assert since_of("2026-01-31", NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    assert since_of("2026-01-31T12:00+02:00", NOW) == datetime(2026, 1, 31, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2", "h", "-2h", "2 fortnights", "٣h", "999999w"])
def test_since_that_is_neither_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--since is"):
        since_of(text, NOW)


def test_the_command_counts_pushes_and_says_what_it_did(
    letters: Engine, intake: Intake, database_url: str, valkey_server: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DEADPAN_REDIS_URL", valkey_server.url)
    monkeypatch.setenv("DEADPAN_DATABASE_URL", database_url)
    run = CliRunner()
    meant = [
        "dead-letters",
        "replay",
        "--all",
        "--stage",
        "predict",
        "--since",
        "2026-03-01T10:00Z",
    ]
    shown = run.invoke(app, [*meant, "--dry-run"])
    assert shown.output.splitlines() == [
        "3 dead letters match (predict 3)",
        "3 post ids would be pushed again",
    ]
    assert pushed(intake) == []
    told = json.loads(run.invoke(app, [*meant, "--error", "cuda", "--json"]).stdout)
    assert told == {
        "dry_run": False,
        "matched": 3,
        "by_stage": {"predict": 3},
        "replayed": 3,
        "left_out": {},
    }
    assert pushed(intake) == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either ids of dead letters or --all"),
        (["1", "--all"], "give either ids of dead letters or --all"),
        (["1", "--stage", "fetch"], "--stage only works with --all"),
        (["--dry-run"], "--dry-run only works with --all"),
        (["--all", "--since", "soon"], "--since is 'soon'"),
    ],
)
def test_options_that_contradict_each_other_are_named(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["dead-letters", "replay", *arguments])
    assert isinstance(done.exception, ConfigurationError)
    assert words in str(done.exception)
