"""The database stops and crashes under a worker that is alone: it goes on when it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.tables import flags, verdicts
from tasks.intake.intake import Intake
from tests.crash.test_redis_away import Probe
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from tests.postgres import Postgres

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(120)]


@pytest.fixture
def server() -> Any:
    """A PostgreSQL of the test's own, to be stopped."""
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.close()


def test_more_chunks_than_slots_are_given_back_and_judged_when_the_database_returns(
    tmp_path: Path, settings: dict[str, Any], intake: Intake, server: Postgres
) -> None:
    url, probe = server.create_database(), Probe()
    database = connect(url)
    migrate(database)
    posts = {i: {"text": f"post {i}"} for i in IDS}
    with Platform(posts, delay_seconds=0.3) as platform:
        settings |= {"database_url": url, "source": platform.source, "slots": 2}
        with worker(tmp_path, metrics_port=probe.port, **settings) as child:
            wait_until(probe.ready, "readiness", child)
            for end, ids in ((server.stop, IDS[:60]), (server.kill, IDS[60:])):
                end()
                intake.enqueue(ids)
                wait_until(lambda: _all_given_back(intake, probe), "unreadiness", child)
                server.start()
                wait_until(
                    lambda ids=ids: len(outcomes(database, ids)) == 60,  # type: ignore[misc]
                    "outcomes",
                    child,
                )
            wait_until(lambda: not intake.status()["chunks"], "an end of the chunks", child)
            assert child.exit_code is None
    with transaction(database, read_only=True) as connection:
        for table in (verdicts, flags):
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            assert count == len(IDS)
    database.dispose()


def _all_given_back(intake: Intake, probe: Probe) -> bool:
    """The worker says why, and holds nothing; more chunks rest than it has slots."""
    resting = intake.client.zcard("deadpan:chunks")
    held = intake.client.hlen("deadpan:chunk-owners")
    return resting >= 2 and held == 0 and "PostgreSQL" in (probe.why_not() or "")
