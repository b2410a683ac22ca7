"""A worker that is told to end finishes what it has in hand, or gives it back whole, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.processes import ChildProcess

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(40)]
POSTS = {i: {"text": f"post {i}"} for i in IDS}


def sigterm(child: ChildProcess, settings: dict[str, Any]) -> None:
    os.kill(child.pid, signal.SIGTERM)


def sigterm_twice(child: ChildProcess, settings: dict[str, Any]) -> None:
    os.kill(child.pid, signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in child.last_words(100), "the first to be heard", child)
    assert child.exit_code is None, "it has an hour of grace"
    os.kill(child.pid, signal.SIGTERM)


def control(child: ChildProcess, settings: dict[str, Any]) -> None:
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "control", "shutdown"],
        env=environment(**settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,  # nobody is left to answer it
    )


def owners(intake: Intake) -> dict[bytes, bytes]:
    return intake.client.hgetall("deadpan:chunk-owners")  # type: ignore[return-value]


def test_a_worker_that_is_told_to_end_finishes_the_chunks_in_hand(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    with Platform(POSTS, delay_seconds=3.0) as platform:
        settings |= {"source": platform.source, "grace_seconds": 60}
        with worker(tmp_path, **settings) as child:
            intake.enqueue(IDS)
            wait_until(lambda: bool(platform.asked), "a chunk in hand", child)
            os.kill(child.pid, signal.SIGTERM)
            wait_until(lambda: child.exit_code is not None, "its end", child)
        assert child.exit_code == 0
        told = outcomes(sqlite, IDS)
        assert set(told) == set(platform.asked), "what was asked for is judged"
        assert owners(intake) == {}
        waits = intake.status()
        left = sum(waits["intake"].values()) + sum(
            intake.client.llen(key) for key in intake.client.keys("deadpan:chunk:*")
        )
        assert len(told) + left == len(IDS), "and all else waits for another worker"
        assert waits["workers"] == []


@pytest.mark.parametrize(
    ("end", "grace_seconds"), [(sigterm, 0.5), (sigterm_twice, 3600.0), (control, 0.5)]
)
def test_a_worker_that_cannot_finish_gives_its_chunks_back_whole_and_no_lease_has_to_run_out(
    tmp_path: Path,
    settings: dict[str, Any],
    sqlite: Engine,
    intake: Intake,
    end: Callable[[ChildProcess, dict[str, Any]], None],
    grace_seconds: float,
) -> None:
    with Platform(POSTS, delay_seconds=100.0) as platform:
        settings |= {"source": platform.source, "fetch_timeout_seconds": 120}
        # A lease of an hour: whatever is due before was given back.
        settings |= {"grace_seconds": grace_seconds, "lease_seconds": 3600}
        with worker(tmp_path, **settings) as child:
            intake.enqueue(IDS)
            wait_until(lambda: len(platform.asked) == len(IDS), "all chunks in hand", child)
            end(child, settings)
            wait_until(lambda: child.exit_code is not None, "its end", child)
        assert child.exit_code == 0
        assert outcomes(sqlite, IDS) == {}
        assert owners(intake) == {}
        assert intake.client.hgetall("deadpan:chunk-losses") == {}, "nobody is to blame"
        now_ms = intake.client.time()[0] * 1000 + 1000
        due = dict(intake.client.zrange("deadpan:chunks", 0, -1, withscores=True))
        assert due
        assert all(score <= now_ms for score in due.values())
        given_back = sum(intake.client.llen(f"deadpan:chunk:{i.decode()}") for i in due)
        assert given_back == len(IDS)
        assert intake.status()["workers"] == []
