"""Which slots of a worker are free, against a real Valkey."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.chunks import Chunk
from tasks.intake import Intake
from tasks.leases import LeaseKeeper


def test_a_chunk_that_is_being_taken_fills_its_slot(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = LeaseKeeper(intake, lease_seconds=60)
    intake.enqueue(["1"])
    dispatched = intake.claim(chunk_size=8, lease_seconds=60)
    assert dispatched is not None
    take, seen = intake.take, []

    def taken_and_not_yet_known(*given: Any, **named: Any) -> Chunk | None:
        chunk = take(*given, **named)
        seen.append((keeper.slots, keeper.held))
        return chunk

    monkeypatch.setattr(intake, "take", taken_and_not_yet_known)
    with keeper.taken_in_hand(dispatched.chunk_id, owner="me") as chunk:
        assert chunk is not None
        assert (keeper.slots, keeper.held) == (1, 1)
    assert seen == [(1, 0)]
    assert keeper.slots == 0
