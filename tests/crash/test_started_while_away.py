"""Commands that are started while their servers are away: they say so, wait, and go on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage.base.database import connect
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.crash.test_redis_away import Probe
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from tests.postgres import Postgres
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

pytestmark = pytest.mark.long

Started = dict[str, tuple[ChildProcess, Probe]]

WAITS_FOR = {
    "worker": "PostgreSQL",
    "console": "Redis",  # its page says which of both is away; it waits for PostgreSQL alone
    "housekeeping": "PostgreSQL",
    "autoscale": "Redis",
}


@pytest.fixture
def postgres_away() -> Iterator[tuple[Postgres, str]]:
    """A PostgreSQL that was stopped, and a database in it that has all tables."""
    server = Postgres()
    try:
        server.start()
        url = server.create_database()
        database = connect(url)
        migrate(database)
        database.dispose()
        server.stop()
        yield server, url
    finally:
        server.close()


@pytest.fixture
def valkey_away(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that was never started."""
    server = EmbeddedValkey(tmp_path / "valkey")
    try:
        yield server
    finally:
        server.stop()


def started(stack: ExitStack, folder: Path, *names: str, **settings: Any) -> Started:
    """Commands, each with its probe."""
    found: Started = {}
    for name in names:
        probe, more = Probe(), {}
        arguments = [sys.executable, "-m", "deadpan", name]
        if name == "console":
            arguments += ["--port", str(probe.port)]
        else:
            more["metrics_port"] = probe.port
        if name == "autoscale":
            arguments += ["--no-workers"]
        child = ChildProcess(
            name,
            arguments,
            environment=environment(workers_max=1, **more, **settings),
            log_path=folder / f"{name}.log",
        )
        found[name] = stack.enter_context(child), probe
    return found


def wait_until_they_wait(commands: Started) -> None:
    """Each lives, is not ready, and says what it waits for."""
    for name, (child, probe) in commands.items():
        wait_until(lambda probe=probe, name=name: WAITS_FOR[name] in (probe.why_not() or ""), name)  # type: ignore[misc]
        wait_until(lambda child=child: "waiting for a server" in child.last_words(), name)  # type: ignore[misc]


def test_all_wait_for_what_is_away_and_go_on_by_themselves(
    tmp_path: Path,
    settings: dict[str, Any],
    postgres_away: tuple[Postgres, str],
    valkey_away: EmbeddedValkey,
) -> None:
    postgres, url = postgres_away
    settings |= {"redis_url": valkey_away.url, "database_url": url, "secret_key": "s" * 48}
    with Platform({"p": {"text": "a post"}}) as platform, ExitStack() as stack:
        commands = started(stack, tmp_path, *WAITS_FOR, source=platform.source, **settings)
        pids = [child.pid for child, _ in commands.values()]
        wait_until_they_wait(commands)
        for child, _ in commands.values():
            assert child.last_words(99).count("waiting for a server") == 1, "it says so once"
            assert postgres.password not in child.last_words(99)
        worker, probe = commands["worker"]
        postgres.start()
        wait_until(lambda: "Redis" in (probe.why_not() or ""), "the next wait", worker)
        valkey_away.start()
        intake, database = Intake.at(valkey_away.url), connect(url)
        intake.enqueue(["p"])
        wait_until(lambda: outcomes(database, ["p"]) == {"p": "judged"}, "an outcome", worker)
        for child, probe in commands.values():
            wait_until(probe.ready, child.name, child)
        assert "sign-in?token=" in commands["console"][0].last_words(99), "it opened"
        assert [child.pid for child, _ in commands.values()] == pids
        intake.close()
        database.dispose()


def test_who_waits_ends_at_the_first_signal(
    tmp_path: Path,
    settings: dict[str, Any],
    postgres_away: tuple[Postgres, str],
    valkey_away: EmbeddedValkey,
) -> None:
    settings |= {"redis_url": valkey_away.url, "database_url": postgres_away[1]}
    settings |= {"source": "http://127.0.0.1:9/{id}", "allow_private_addresses": "127.0.0.0/8"}
    with ExitStack() as stack:
        commands = started(stack, tmp_path, "worker", "autoscale", **settings)
        wait_until_they_wait(commands)
        for child, _ in commands.values():
            child._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        for child, _ in commands.values():
            wait_until(lambda child=child: child.exit_code is not None, "its end", child)  # type: ignore[misc]
        codes = {name: child.exit_code for name, (child, _) in commands.items()}
        assert codes == {"worker": 0, "autoscale": 0}


def test_what_no_waiting_mends_ends_at_once(
    tmp_path: Path,
    settings: dict[str, Any],
    postgres_away: tuple[Postgres, str],
    valkey_away: EmbeddedValkey,
) -> None:
    postgres, url = postgres_away
    postgres.start()
    valkey_away.start()
    settings |= {
        "redis_url": f"{valkey_away.url}99",  # it has no database of that number
        "database_url": url.replace(postgres.password, "not-this-one"),
        "source": "http://127.0.0.1:9/{id}",
        "allow_private_addresses": "127.0.0.0/8",
    }
    with ExitStack() as stack:
        names = ("console", "housekeeping", "autoscale")  # a worker asks as housekeeping does
        commands = started(stack, tmp_path, *names, **settings)
        for name, (child, _) in commands.items():
            wait_until(lambda child=child: child.exit_code is not None, "its end", child)  # type: ignore[misc]
            said = child.last_words(99)
            assert child.exit_code == 1, said
            assert ("DB index" if name == "autoscale" else "password authentication") in said, said
            assert "waiting for a server" not in said
            assert "not-this-one" not in said
