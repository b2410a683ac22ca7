"""What the policy promises: shown, counted, found, and forecast from what was done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from storage.reports import promises
from tasks.intake.intake import Intake
from tests import postgres
from tests.console_data import flag, moderator
from tests.console_server import ConsoleServer, serving

database_url = postgres.database_url

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    """Two flags overdue, one due soon, one without a promise; in one queue three were decided."""
    flag(database, "late", due_at=NOW - 2 * HOUR, now=NOW - 30 * HOUR)
    flag(database, "sarcastic", queue="sarcasm", due_at=NOW - HOUR, now=NOW - 3 * HOUR)
    flag(database, "soon", due_at=NOW + 3.5 * HOUR, now=NOW - HOUR)
    flag(database, "whenever", now=NOW - HOUR)
    with transaction(database) as connection:
        ann = moderator(connection, "ann")
    for post, due in (("d1", NOW - HOUR), ("d2", NOW + HOUR), ("d3", None)):
        number = flag(database, post, due_at=due, now=NOW - 2 * HOUR)
        with transaction(database) as connection:
            decisions.decide(connection, number, ann, Said("approve"), now=NOW)
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server


def test_a_forecast_is_what_waits_over_what_was_done(console: ConsoleServer) -> None:
    with transaction(console.database, read_only=True) as connection:
        found = promises.forecast(connection, now=NOW)
    negative, sarcasm = found
    assert (negative.waiting, negative.overdue, negative.opened, negative.decided) == (3, 1, 5, 3)
    assert (negative.kept, negative.promised, negative.hours) == (1, 2, 24.0)
    assert negative.clears_in_seconds == 86_400
    assert (sarcasm.overdue, sarcasm.decided, sarcasm.clears_in_seconds) == (1, 0, None)


def test_programs_find_what_is_due_and_read_the_forecast(console: ConsoleServer) -> None:
    token = console.token("bot", "flags:read", "metrics:read", role="viewer")
    with httpx.Client(base_url=console.url, headers=token, timeout=30) as program:
        before = {"due_before": (NOW + 4 * HOUR).isoformat()}
        found = program.get("/api/v1/flags", params=before).json()["flags"]
        assert {each["post_id"] for each in found} == {"late", "sarcastic", "soon"}
        told = program.get("/api/v1/backlog").json()["queues"]
        assert [(each["queue"], each["overdue"]) for each in told] == [
            ("negative", 1),
            ("sarcasm", 1),
        ]
        assert 'deadpan_flags_overdue{queue="sarcasm"} 1.0' in program.get("/metrics").text
        assert program.get("/api/v1/flags?due_before=2026-01-01T00:00:00").status_code == 422


def test_pages_count_down_and_filter_by_due_time(console: ConsoleServer) -> None:
    ann = console.client("ann")
    listed = ann.get("/").text
    assert "2 overdue</a>" in listed
    assert "due in 3 h</time>" in listed
    late = ann.get("/?due=late").text
    assert "post <bdi>late</bdi>" in late
    assert "post <bdi>soon</bdi>" not in late
    assert "2 h overdue</time>" in late
    assert "1 overdue</a>" in ann.get("/?queue=sarcasm").text
    assert "decided late" in ann.get("/flags/5").text
    assert "decided in time" in ann.get("/flags/6").text
