"""SIGKILL in the middle of a chunk: every post is judged, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sqlalchemy import func, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.tables import flags, outbox, verdicts
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from tests.receiver import SECRET
from worker.local.embedded import EmbeddedValkey


def test_a_chunk_whose_worker_was_killed_is_judged_once(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake, database_url: str
) -> None:
    database = connect(database_url)
    migrate(database)
    ids = [f"p{n}" for n in range(100)]
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "all"\npriority = 1\n'
    )
    with Platform({i: {"text": f"post {i}"} for i in ids}) as platform:
        settings = {
            "redis_url": valkey_server.url,
            "database_url": database_url,
            "source": platform.source,
            "evidence_url": tmp_path / "evidence",
            "policy": policy,
            "lease_seconds": 2,
            "chunk_size": 16,
            # Nobody delivers here: what is written is what counts.
            "callback_url": "https://platform.example/callbacks",
            "callback_secret": SECRET,
        }
        # Slow enough that the worker is killed while it waits for the posts of its chunks.
        platform.delay_seconds = 5.0
        first, second = (
            worker(tmp_path, "first", **settings),
            worker(tmp_path, "second", **settings),
        )
        with first, second:
            intake.enqueue(ids)
            wait_until(lambda: bool(platform.asked), "a chunk in hand", first, second)
            victim = first if _holds_a_chunk(intake, "first") else second
            survivor = second if victim is first else first
            os.kill(victim.pid, signal.SIGKILL)
            wait_until(lambda: victim.exit_code is not None, "its death", victim)
            platform.delay_seconds = 0.0
            wait_until(
                lambda: len(outcomes(database, ids)) == 100 and intake.status()["chunks"] == 0,
                "100 outcomes",
                survivor,
            )
    assert victim.exit_code == -signal.SIGKILL
    with transaction(database) as connection:
        judged = connection.execute(select(func.count()).select_from(verdicts)).scalar_one()
        flagged = connection.execute(select(func.count()).select_from(flags)).scalar_one()
        told = connection.execute(select(outbox.c.post_id)).scalars().all()
    assert (judged, flagged) == (100, 100)
    assert sorted(told) == sorted(ids)
    assert max(platform.asked.values()) >= 2, "some chunk was in hand when its worker died"
    database.dispose()


def _holds_a_chunk(intake: Intake, name: str) -> bool:
    owners = intake.client.hvals("deadpan:chunk-owners")
    return any(owner.startswith(f"{name}@".encode()) for owner in owners)
