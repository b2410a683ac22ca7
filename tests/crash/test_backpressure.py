"""What is slow makes posts wait in Redis, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.tables import verdicts
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

SLOTS, CHUNK = 2, 16
FLOOD = [f"flood-{n}" for n in range(600)]
HIGH = [f"high-{n}" for n in range(5)]


def test_a_slow_source_piles_nothing_up_and_a_flood_does_not_starve_what_is_urgent(
    tmp_path: Path, settings: dict[str, Any], intake: Intake, postgres_url: str
) -> None:
    database = connect(postgres_url)
    migrate(database)
    posts = {i: {"text": f"post {i}"} for i in (*FLOOD, *HIGH)}
    with Platform(posts, delay_seconds=3.0) as platform:
        settings |= {"slots": SLOTS, "chunk_size": CHUNK, "database_url": postgres_url}
        with worker(tmp_path, source=platform.source, **settings) as child:
            intake.enqueue(FLOOD)
            wait_until(lambda: len(platform.asked) >= CHUNK * SLOTS, "busy slots", child)
            in_hand = intake.status()["chunks"]
            waiting = intake.status()["intake"]["normal"]
            assert in_hand <= SLOTS
            assert len(FLOOD) - waiting <= SLOTS * CHUNK, "the rest waits in Redis"
            before = set(platform.asked)
            intake.enqueue(HIGH, "high")
            platform.delay_seconds = 0.0
            wait_until(lambda: len(outcomes(database, posts)) == len(posts), "outcomes", child)
    with transaction(database, read_only=True) as connection:
        order = connection.execute(select(verdicts.c.post_id).order_by(verdicts.c.id)).scalars()
        judged = [post_id for post_id in order if post_id not in before]
    # Chunks in the other slots may overtake theirs; ten chunks more of the flood may not.
    last = max(judged.index(post_id) for post_id in HIGH)
    assert last < SLOTS * CHUNK + CHUNK
    database.dispose()


def test_a_slow_database_costs_no_chunk_its_lease_and_no_post_its_verdict(
    tmp_path: Path, settings: dict[str, Any], intake: Intake, postgres_url: str
) -> None:
    database = connect(postgres_url)
    migrate(database)
    ids = FLOOD[:40]
    settings |= {"database_url": postgres_url, "lease_seconds": 1.0}
    with Platform({i: {"text": f"post {i}"} for i in ids}) as platform:
        with worker(tmp_path, source=platform.source, **settings) as child:
            wait_until(lambda: bool(intake.status()["workers"]), "a worker", child)
            with database.connect() as other, other.begin():
                # Whoever writes verdicts waits for this transaction, for longer than a lease.
                other.execute(text("LOCK TABLE verdicts IN SHARE MODE"))
                intake.enqueue(ids)
                wait_until(lambda: len(platform.asked) == len(ids), "chunks in hand", child)
                start = intake.client.time()[0]
                wait_until(lambda: intake.client.time()[0] > start + 4, "four leases", child)
                assert intake.client.hgetall("deadpan:chunk-losses") == {}
                assert outcomes_unlocked(postgres_url, ids) == 0
            wait_until(lambda: len(outcomes(database, ids)) == len(ids), "outcomes", child)
            wait_until(lambda: not intake.status()["chunks"], "an end of the chunks", child)
    assert max(platform.asked.values()) == 1, "no chunk was taken over"
    database.dispose()


def outcomes_unlocked(url: str, ids: list[str]) -> int:
    """How many have an outcome, asked on another connection."""
    engine = connect(url)
    try:
        return len(outcomes(engine, ids))
    finally:
        engine.dispose()
