"""SIGSTOP beyond the lease, then SIGCONT: what another has taken over is not written twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.tables import flags, verdicts
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(60)]


def test_a_worker_that_wakes_up_after_its_lease_writes_nothing_a_second_time(
    tmp_path: Path, settings: dict[str, Any], intake: Intake, postgres_url: str
) -> None:
    database = connect(postgres_url)
    migrate(database)
    settings |= {"database_url": postgres_url, "lease_seconds": 2}
    posts = {i: {"text": f"post {i}"} for i in IDS}
    with Platform(posts, delay_seconds=4.0) as platform:
        settings["source"] = platform.source
        first, second = (
            worker(tmp_path, "first", **settings),
            worker(tmp_path, "second", **settings),
        )
        with first, second:
            intake.enqueue(IDS)
            wait_until(lambda: bool(platform.asked), "a chunk in hand", first, second)
            frozen, other = (first, second) if _holds(intake, "first") else (second, first)
            os.kill(frozen.pid, signal.SIGSTOP)
            platform.delay_seconds = 0.0
            wait_until(
                lambda: len(outcomes(database, IDS)) == len(IDS) and _through(intake),
                "outcomes by the other",
                other,
            )
            os.kill(frozen.pid, signal.SIGCONT)
            wait_until(lambda: _knows(frozen.last_words(200)), "its awakening", frozen)
            # It works on afterwards, as if nothing had been.
            os.kill(other.pid, signal.SIGKILL)
            platform.posts["after"] = {"text": "after"}
            intake.enqueue(["after"])
            wait_until(lambda: len(outcomes(database, ["after"])) == 1, "more work", frozen)
    with transaction(database) as connection:
        judged = connection.execute(select(func.count()).select_from(verdicts)).scalar_one()
        flagged = connection.execute(select(func.count()).select_from(flags)).scalar_one()
    assert (judged, flagged) == (len(IDS) + 1, len(IDS) + 1)
    assert max(platform.asked.values()) >= 2, "a chunk was taken over"
    database.dispose()


def _holds(intake: Intake, name: str) -> bool:
    owners = intake.client.hvals("deadpan:chunk-owners")
    return any(owner.startswith(f"{name}@".encode()) for owner in owners)


def _through(intake: Intake) -> bool:
    return not intake.status()["chunks"]


def _knows(log: str) -> bool:
    return "taken over by another worker" in log or '"released": false' in log
