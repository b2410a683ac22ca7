"""SIGKILL at any moment of a backfill: run again until it is through, it pushed every id."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path

import pytest

from tasks.intake.intake import Intake
from tests.harness import environment, wait_until
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

COUNT = 30_000
KILLS = 4


def _options(kind: str, folder: Path) -> list[str]:
    if kind == "file":
        (folder / "ids").write_text("".join(f"{n}\n" for n in range(COUNT)))
        return ["--file", str(folder / "ids")]
    with sqlite3.connect(folder / "platform.db") as connection:
        connection.execute("CREATE TABLE posts (id INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO posts VALUES (?)", [(n,) for n in range(COUNT)])
    connection.close()
    return ["--query", "SELECT id FROM posts", "--database", f"sqlite:///{folder}/platform.db"]


def _waiting(intake: Intake, least: int) -> bool:
    return intake.client.llen("deadpan:posts:low") >= least


@pytest.mark.parametrize("kind", ["file", "query"])
def test_a_backfill_that_is_killed_again_and_again_loses_no_id(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake, kind: str
) -> None:
    options = [*_options(kind, tmp_path), "--priority", "low", "--max-waiting", "0"]
    chance = random.Random(7)

    def run(*more: str) -> ChildProcess:
        return ChildProcess(
            "backfill",
            [sys.executable, "-m", "deadpan", "enqueue", *options, *more],
            environment=environment(redis_url=valkey_server.url),
            log_path=tmp_path / "backfill.log",
        )

    for _ in range(KILLS):
        child = run("--rate", "4000/s")
        child.start()
        goal = intake.client.llen("deadpan:posts:low") + chance.randrange(1, 4000)
        wait_until(partial(_waiting, intake, goal), "some steps", child)
        os.kill(child.pid, signal.SIGKILL)
        child.stop()
    assert intake.client.llen("deadpan:posts:low") < COUNT, "it was killed before its end"
    last = run()
    with last:
        wait_until(lambda: last.exit_code is not None, "its end", last)
        assert last.exit_code == 0, last.last_words()
    ids = [int(raw) for raw in intake.client.lrange("deadpan:posts:low", 0, -1)]
    assert ids == list(range(COUNT)), "each id, in order, and none twice"
