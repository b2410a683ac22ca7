"""Clocks that jump or differ: leases and lists of workers go by the server's clock alone."""

from __future__ import annotations

import datetime
import time

import pytest

from tasks.intake.chunks import Retry
from tasks.intake.intake import Intake

DAY = 86_400.0


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_worker_whose_clock_jumped_holds_its_lease_no_longer_and_no_shorter(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    real = time.time
    intake.enqueue(["1", "2"])
    dispatched = intake.dispatch(chunk_size=8, lease_seconds=30)
    assert dispatched is not None
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(datetime, "datetime", None)
    chunk = intake.take(dispatched.chunk_id, owner="jumped", lease_seconds=30)
    assert chunk is not None
    intake.renew([chunk], lease_seconds=30)
    due_ms = intake.client.zscore("deadpan:chunks", chunk.id)
    assert 0 < due_ms / 1000 - intake.client.time()[0] <= 31
    assert intake.dispatch(chunk_size=8, lease_seconds=30) is None, "nobody takes it over"
    intake.release(chunk, retries=[Retry(chunk.entries[0], 20.0)])
    (due_ms,) = dict(intake.client.zrange("deadpan:retries", 0, -1, withscores=True)).values()
    assert 0 < due_ms / 1000 - intake.client.time()[0] <= 21
    intake.say("jumped", ready=True, model="m")
    monkeypatch.undo()
    assert [said["name"] for said in intake.status()["workers"]] == ["jumped"]
