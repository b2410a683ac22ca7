"""Which slots of a worker are free, against a real Valkey."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tasks.intake.chunks import Chunk, Dispatched
from tasks.intake.intake import Intake
from tasks.intake.leases import LeaseKeeper


@pytest.fixture
def dispatched(intake: Intake) -> Dispatched:
    """A chunk that waits to be taken."""
    intake.enqueue(["1"])
    chunk = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert chunk is not None
    return chunk


def test_who_looks_while_a_chunk_is_taken_sees_it_in_hand(
    intake: Intake, dispatched: Dispatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = LeaseKeeper(intake, lease_seconds=60)
    take, seen = intake.take, []

    def look() -> None:
        with keeper.steady():
            seen.append(keeper.held)

    looker = threading.Thread(target=look)

    def taken_and_not_yet_known(*given: Any, **named: Any) -> Chunk | None:
        chunk = take(*given, **named)
        looker.start()
        looker.join(0.2)
        assert seen == [], "what it saw would not be what Redis knows"
        return chunk

    monkeypatch.setattr(intake, "take", taken_and_not_yet_known)
    with keeper.taken_in_hand(dispatched.chunk_id, owner="me") as chunk:
        assert chunk is not None
        looker.join()
    assert (seen, keeper.held) == ([1], 0)


def test_nothing_is_taken_while_somebody_looks(intake: Intake, dispatched: Dispatched) -> None:
    keeper = LeaseKeeper(intake, lease_seconds=60)

    def take() -> None:
        with keeper.taken_in_hand(dispatched.chunk_id, owner="me"):
            pass

    taker = threading.Thread(target=take)
    with keeper.steady():
        taker.start()
        taker.join(0.2)
        assert intake.client.hget("deadpan:chunk-owners", dispatched.chunk_id) is None
    taker.join()
    assert keeper.taken == 1
