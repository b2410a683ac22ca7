"""Callbacks as an operator meets them: commands, a worker that keeps house, probes and metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.base.database import connect, transaction
from storage.judging import outbox
from storage.judging.outbox import NewEvent, Tried
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.harness import deadpan, environment, wait_until
from tests.platform import Platform
from tests.receiver import SECRET, Receiver
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deadpan.db'}"


@pytest.fixture
def sqlite(url: str) -> Iterator[Engine]:
    engine = connect(url)
    migrate(engine)
    yield engine
    engine.dispose()


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_parked_callbacks_are_counted_listed_and_tried_again(
    sqlite: Engine, url: str, valkey_server: EmbeddedValkey
) -> None:
    with transaction(sqlite) as connection:
        outbox.add_events(
            connection,
            [NewEvent("verdict.created", f"p{n}", f"verdict-{n}-1", {}) for n in (1, 2, 3)],
        )
        first, second, _ = outbox.take_due(connection, limit=3, seconds=60)
        outbox.settle(
            connection,
            [Tried(first, "parked", error="the receiver said 410"), Tried(second, "delivered")],
        )
    where = {"database_url": url}
    counted = told(deadpan("status", "--json", redis_url=valkey_server.url, **where))["callbacks"]
    assert counted == {"pending": 1, "parked": 1}
    (parked,) = told(deadpan("callbacks", "list", "--parked", "--json", **where))
    assert (parked["webhook_id"], parked["state"], parked["error"], parked["attempts"]) == (
        "verdict-1-1", "parked", "the receiver said 410", 1
    )  # fmt: skip
    assert len(told(deadpan("callbacks", "list", "--json", **where))) == 2
    wrong = deadpan("callbacks", "retry", "2", "3", "99", **where)
    assert wrong.returncode == 2
    assert "callback 2 was delivered at" in wrong.stderr
    assert "callback 3 is not parked" in wrong.stderr
    assert "callback 99 does not exist" in wrong.stderr
    assert deadpan("callbacks", "retry", **where).returncode == 2
    assert told(deadpan("callbacks", "retry", "1", "--json", **where)) == {"retried": 1}
    assert told(deadpan("callbacks", "retry", "--all", "--json", **where)) == {"retried": 0}


def test_a_secret_that_is_made_is_one_that_is_taken(tmp_path: Path) -> None:
    secret = deadpan("callbacks", "secret").stdout.strip()
    done = deadpan(
        "settings", "--json", callback_url="https://platform.example/x", callback_secret=secret
    )
    shown = {row["variable"]: row["value"] for row in told(done)}
    assert shown["DEADPAN_CALLBACK_SECRET"] == "(set)"
    assert secret not in done.stdout


def test_a_receiver_that_cannot_be_one_is_refused_before_anything_starts(url: str) -> None:
    done = deadpan(
        "housekeeping",
        database_url=url,
        callback_url="http://169.254.169.254/x",
        callback_secret=SECRET,
    )
    assert done.returncode == 2
    assert "private address 169.254.169.254" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_keeps_house_tells_the_platform_of_its_verdicts(
    sqlite: Engine, url: str, tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    with Receiver() as receiver, Platform({i: {"text": f"post {i}"} for i in "abc"}) as platform:
        child = ChildProcess(
            "worker",
            [sys.executable, "-m", "deadpan", "worker", "--with-housekeeping"],
            environment=environment(
                redis_url=valkey_server.url,
                database_url=url,
                source=platform.source,
                evidence_url=tmp_path / "evidence",
                callback_url=receiver.url,
                callback_secret=SECRET,
                allow_private_addresses="127.0.0.0/8",
                engine="torch",
                log_format="json",
            ),
            log_path=tmp_path / "worker.log",
        )
        with child:
            intake.enqueue("abc")
            wait_until(lambda: len(receiver.accepted) >= 3, "three callbacks", child)
            intake.enqueue("abc")
            wait_until(lambda: _unchanged(child) == 3, "the repetition", child)
    assert sorted(request.post_id for request in receiver.accepted) == ["a", "b", "c"]
    assert child.exit_code == 0
    lines = [line for line in child.log_path.read_text().splitlines() if line]
    # Celery's own word at a signal, which no setting turns off
    lines.remove("worker: Warm shutdown (MainProcess)")
    said = [json.loads(line)["event"] for line in lines]
    assert {"housekeeping started", "callback delivered", "housekeeping ended"} <= set(said)
    assert {request.told["type"] for request in receiver.accepted} == {"verdict.created"}


@pytest.mark.parametrize(
    ("command", "settings", "says"),
    [
        (
            ["worker", "--with-housekeeping"],
            {"callback_url": "http://169.254.169.254/x", "callback_secret": SECRET},
            "private address 169.254.169.254",
        ),
        (["console"], {"chunk_size": "many"}, "DEADPAN_CHUNK_SIZE is 'many'"),
    ],
)
def test_what_ends_a_process_that_serves_is_said_in_the_form_of_its_log(
    command: list[str], settings: dict[str, str], says: str, url: str
) -> None:
    done = deadpan(*command, database_url=url, log_format="json", **settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("ended by an error", "error")
    assert says in told["error"]
    done = deadpan(*command, database_url=url, log_format="console", **settings)
    assert done.stderr.startswith("error: ")
    assert says in done.stderr


def test_an_unforeseen_error_is_said_in_the_form_of_the_log_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from deadpan.core import logs; logs.begin(); secret = 'S'; 1 / 0"],
        env=environment(log_format="json"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = json.loads(done.stderr)
    assert (done.returncode, told["level"]) == (1, "critical")
    assert "ZeroDivisionError" in told["exception"]


def _unchanged(child: ChildProcess) -> int:
    lines = [
        json.loads(line) for line in child.log_path.read_text().splitlines() if line.startswith("{")
    ]
    return sum(line.get("unchanged", 0) for line in lines if line["event"] == "chunk recorded")


def test_housekeeping_answers_probes_and_counts(sqlite: Engine, url: str, tmp_path: Path) -> None:
    port = free_port()

    def page(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())
        except OSError:
            return ""

    with transaction(sqlite) as connection:
        outbox.add_events(connection, [NewEvent("verdict.created", "p", "verdict-1-1", {})])
    with Receiver() as receiver:
        child = ChildProcess(
            "housekeeping",
            [sys.executable, "-m", "deadpan", "housekeeping"],
            environment=environment(
                database_url=url,
                callback_url=receiver.url,
                callback_secret=SECRET,
                allow_private_addresses="127.0.0.0/8",
                metrics_port=port,
            ),
            log_path=tmp_path / "housekeeping.log",
        )
        with child:
            wait_until(lambda: '"ready": true' in page("/readyz"), "ready", child)
            delivered = 'deadpan_callbacks_total{outcome="delivered"} 1.0'
            wait_until(lambda: delivered in page("/metrics"), "the count", child)
            metrics = page("/metrics")
    assert "deadpan_housekeeping_leads 1.0" in metrics
    assert "deadpan_callbacks_parked 0.0" in metrics
    assert child.exit_code == 0, child.last_words()
