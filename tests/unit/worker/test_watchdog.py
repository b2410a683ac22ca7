"""When a worker is taken for stuck, and when it is not."""

from __future__ import annotations

from dataclasses import dataclass

from worker.watchdog import STUCK_SECONDS, Watchdog


@dataclass
class Leases:
    held: int = 0
    taken: int = 0


def watched(slots: int = 2) -> tuple[Watchdog, Leases, list[float]]:
    now, leases = [0.0], Leases()
    watchdog = Watchdog(leases, slots=slots, clock=lambda: now[0])  # type: ignore[arg-type]
    assert watchdog.stuck(waiting=0) is None
    return watchdog, leases, now


def test_messages_that_wait_beside_a_free_slot_are_noticed_after_a_while() -> None:
    watchdog, _, now = watched()
    assert watchdog.stuck(waiting=1) is None
    now[0] += STUCK_SECONDS
    assert "1 messages and posts wait" in str(watchdog.stuck(waiting=1))


def test_a_worker_that_takes_one_now_and_then_is_well() -> None:
    watchdog, leases, now = watched()
    for _ in range(10):
        now[0] += STUCK_SECONDS - 1
        leases.taken += 1
        assert watchdog.stuck(waiting=3) is None


def test_a_worker_whose_slots_are_busy_is_well() -> None:
    watchdog, leases, now = watched()
    leases.held = 2
    now[0] += 10 * STUCK_SECONDS
    assert watchdog.stuck(waiting=3) is None
    leases.held = 1
    assert watchdog.stuck(waiting=3) is None, "a slot is free since this moment"


def test_time_without_redis_does_not_count() -> None:
    watchdog, _, now = watched()
    for _ in range(10):
        now[0] += STUCK_SECONDS
        assert watchdog.stuck(waiting=0) is None
    assert watchdog.stuck(waiting=1) is None
