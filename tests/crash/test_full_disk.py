"""No room on the disk, for the database, the evidence and the log: chunks wait, nothing is lost."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.tables import evidence, flags, verdicts
from tasks.intake.intake import Intake
from tests.crash.test_redis_away import Probe
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(30)]


def test_posts_wait_while_a_workers_disk_is_full_and_are_judged_when_there_is_room(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    probe = Probe()
    with Platform({i: {"text": f"post {i}"} for i in IDS}) as platform:
        settings["source"] = platform.source
        with worker(tmp_path, metrics_port=probe.port, **settings) as child:
            wait_until(probe.ready, "readiness", child)
            # No file of this process can grow, whatever the file system: neither the database's
            # log of writes, nor evidence, nor its own output.
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            intake.enqueue(IDS)
            wait_until(lambda: "free space" in (probe.why_not() or ""), "its word about it", child)
            wait_until(lambda: "1.0" in probe.metric("deadpan_store_fails"), "its metric", child)
            assert outcomes(sqlite, IDS) == {}
            resource.prlimit(
                child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            wait_until(
                lambda: len(outcomes(sqlite, IDS)) == 30 and not intake.status()["chunks"],
                "outcomes when there is room",
                child,
            )
            wait_until(probe.ready, "readiness", child)
            wait_until(lambda: "1.0" not in probe.metric("deadpan_store_fails"), "no more", child)
            assert '{store="evidence"}' in probe.metric("deadpan_store_free_bytes")
            assert '{store="database"}' in probe.metric("deadpan_store_free_bytes")
            assert child.exit_code is None
    store = EvidenceStore(str(tmp_path / "evidence"))
    with transaction(sqlite) as connection:
        for table in (verdicts, flags):
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            assert count == len(IDS)
        for sha256 in connection.execute(select(evidence.c.sha256)).scalars():
            store.get(sha256)
