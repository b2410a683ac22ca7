"""`deadpan autoscale` with real workers: a spike adds one, its end drains it, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, func, select

from storage.base.database import connect, transaction
from storage.tables import verdicts
from tasks.intake.arrivals import note_sample
from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess
from worker.local.services import migrate_database


def autoscaler(folder: Path, *options: str, **settings: object) -> ChildProcess:
    return ChildProcess(
        "autoscaler",
        [sys.executable, "-m", "deadpan", "autoscale", "--json", "--folder", str(folder), *options],
        environment=environment(log_format="json", **settings),
        log_path=folder / "autoscaler.log",
        grace_seconds=60,
    )


def lines(child: ChildProcess) -> list[dict[str, Any]]:
    """What it printed; its logs, in the same file, have an `event`."""
    found = []
    for line in child.log_path.read_text().splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "event" not in told:
            found.append(told)
    return found


def last(child: ChildProcess, key: str) -> Any:
    return lines(child)[-1].get(key) if lines(child) else None


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def count_verdicts(database: Engine) -> int:
    with transaction(database) as connection:
        return connection.execute(select(func.count()).select_from(verdicts)).scalar_one()


@pytest.mark.long
def test_a_spike_adds_a_worker_and_its_end_drains_it(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    ids = [f"p{n}" for n in range(400)]
    database_url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    migrate_database(database_url)
    database = connect(database_url)
    posts = {post_id: {"text": f"the worst day {post_id}"} for post_id in ids}
    port = free_port()
    with Platform(posts, delay_seconds=0.8) as platform:
        child = autoscaler(
            tmp_path,
            redis_url=valkey_server.url,
            database_url=database_url,
            source=platform.source,
            evidence_url=tmp_path / "evidence",
            allow_private_addresses="127.0.0.0/8",
            device="cpu",
            engine="torch",
            chunk_size=4,
            workers_max=2,
            latency_goal_seconds=10,
            worker_posts_per_second=30,
            worker_start_seconds=4,
            metrics_port=port,
        )
        with child:

            def ready() -> int:
                return sum(bool(worker["ready"]) for worker in intake.status()["workers"])

            wait_until(lambda: ready() == 1, "a first worker", child)
            intake.client.rpush("deadpan:posts", *ids)
            wait_until(lambda: ready() == 2, "a second worker", child)
            names = [worker["name"] for worker in intake.status()["workers"]]
            assert len(set(names)) == 2
            status, body = page(port, "/api/v1/scaling")
            assert status == 200
            assert json.loads(body)["desired"] == 2
            shown = page(port, "/metrics")[1]
            assert "deadpan_workers_desired 2.0" in shown
            assert "deadpan_worker_ready" not in shown, "it is no worker"
            wait_until(lambda: len(outcomes(database, ids)) == len(ids), "all outcomes", child)
            wait_until(lambda: last(child, "desired") == 1, "one too many", child)
            wait_until(
                lambda: (last(child, "running"), last(child, "draining")) == (1, 0), "drain", child
            )
            assert count_verdicts(database) == len(ids)
            assert intake.status()["chunks"] == 0
            wait_until(lambda: ready() == 1, "the drained worker to be off the list", child)

            (before,) = [w["name"] for w in intake.status()["workers"]]
            (worker,) = workers_of(child)
            worker.send_signal(signal.SIGKILL)
            wait_until(
                lambda: any(w["ready"] and w["name"] != before for w in intake.status()["workers"]),
                "another worker in place of the killed one",
                child,
            )
            (worker,) = workers_of(child)
            os.kill(child.pid, signal.SIGTERM)
            wait_until(lambda: child.exit_code is not None, "the end", child)
            assert child.exit_code == 0
            assert not worker.is_running()
            assert {w["name"] for w in intake.status()["workers"]} <= {before}
    database.dispose()


def workers_of(child: ChildProcess) -> list[psutil.Process]:
    return [
        process for process in psutil.Process(child.pid).children() if "worker" in process.cmdline()
    ]


@pytest.mark.long
def test_without_workers_it_says_how_many_are_wanted_elsewhere(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        intake = Intake.at(valkey.url)
        child = autoscaler(
            tmp_path,
            "--no-workers",
            redis_url=valkey.url,
            workers_min=0,
            workers_max=7,
            worker_posts_per_second=10,
            metrics_port=port,
        )
        with child:
            wait_until(lambda: last(child, "desired") == 0, "a first look", child)
            assert json.loads(page(port, "/api/v1/scaling")[1])["desired"] == 0
            assert page(port, "/readyz")[0] == 200
            intake.client.rpush("deadpan:posts:high", *range(10_000))
            wait_until(lambda: last(child, "desired") == 7, "all workers", child)
            told = json.loads(page(port, "/api/v1/scaling")[1])
            assert told["waiting"] == {"high": 10_000, "normal": 0, "low": 0}
            assert 'deadpan_intake_posts{priority="high"} 10000.0' in page(port, "/metrics")[1]
            valkey.stop()
            # An old number is not served: KEDA has a fallback for that.
            wait_until(lambda: page(port, "/api/v1/scaling")[0] == 503, "no number", child)
            valkey.process.start()
            valkey.wait()
            wait_until(lambda: page(port, "/api/v1/scaling")[0] == 200, "a number", child)
            note_sample(intake)
            assert last(child, "desired") == 7
        intake.close()


def test_settings_that_contradict_each_other_end_it_with_2(tmp_path: Path) -> None:
    child = autoscaler(tmp_path, "--no-workers", workers_min=3, workers_max=2)
    with child:
        wait_until(lambda: child.exit_code is not None, "an end", child)
        assert child.exit_code == 2
        assert "DEADPAN_WORKERS_MIN is 3" in child.last_words()
