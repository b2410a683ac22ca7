"""SIGKILL while a flag is explained: no explanation is lost, and none is made twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from storage.base.clock import moment
from storage.base.database import transaction
from storage.tables import explanations
from tasks.intake.intake import Intake
from tests.crash.conftest import Settings
from tests.harness import wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

POSTS = 24


def _count(database: Engine, *which: object) -> int:
    with transaction(database, read_only=True) as connection:
        statement = select(func.count()).select_from(explanations).where(*which)  # type: ignore[arg-type]
        return int(connection.execute(statement).scalar_one())


def test_flags_that_were_being_explained_when_their_worker_was_killed_are_explained(
    tmp_path: Path, intake: Intake, sqlite: Engine, settings: Settings
) -> None:
    columns = explanations.c
    held = columns.holder.is_not(None)
    done = columns.state == "done"
    posts = {f"p{n}": {"text": " ".join(f"word{n}x{k}" for k in range(90))} for n in range(POSTS)}
    with Platform(posts) as platform:
        settings |= {"source": platform.source, "explain": "on"}
        for number in range(3):
            with worker(tmp_path, f"killed{number}", **settings) as victim:
                if number == 0:
                    intake.enqueue(list(posts))
                wait_until(lambda: _count(sqlite, held) == 1, "a flag in hand", victim)
                os.kill(victim.pid, signal.SIGKILL)
                wait_until(lambda: victim.exit_code is not None, "its death", victim)
            with transaction(sqlite) as connection:
                # as when the lease has run out
                connection.execute(
                    update(explanations).where(held).values(next_attempt_at=moment(connection))
                )
        assert _count(sqlite) == POSTS, "each flag was committed with its work"
        assert _count(sqlite, done) < POSTS
        with worker(tmp_path, "last", **settings) as last:
            wait_until(lambda: _count(sqlite, done) == POSTS, "all explanations", last)
    assert _count(sqlite, held) == 0
    assert _count(sqlite, columns.explanation.is_(None)) == 0
