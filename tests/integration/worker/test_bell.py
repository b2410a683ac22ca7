"""The bell, on a real Valkey."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import structlog

from tasks.intake.intake import Intake
from tasks.intake.keys import PRIORITIES, Priority
from worker.bell import Bell
from worker.local.embedded import EmbeddedValkey

LONG_SECONDS = 30.0


@pytest.fixture
def bell(intake: Intake) -> Iterator[Bell]:
    bell = Bell(intake)
    bell.start()
    yield bell
    bell.close()


def _waited_for(bell: Bell, *, for_pushes: bool) -> threading.Thread:
    waiting = threading.Thread(
        target=bell.wait, args=(LONG_SECONDS,), kwargs={"for_pushes": for_pushes}, daemon=True
    )
    waiting.start()
    return waiting


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_push_rings_and_stays_where_it_was_pushed(
    intake: Intake, bell: Bell, priority: Priority
) -> None:
    waiting = _waited_for(bell, for_pushes=True)
    intake.enqueue(["a", "b"], priority=priority)
    waiting.join(LONG_SECONDS / 2)
    assert not waiting.is_alive()
    assert bell.silence()
    assert intake.client.lrange(intake.list_key(priority), 0, -1) == [b"a", b"b"]


def test_every_worker_hears_one_push(intake: Intake) -> None:
    bells = [Bell(intake) for _ in range(5)]
    for one in bells:
        one.start()
    waiting = [_waited_for(one, for_pushes=True) for one in bells]
    intake.enqueue(["a"])
    for one in waiting:
        one.join(LONG_SECONDS / 2)
    assert not any(one.is_alive() for one in waiting)
    for one in bells:
        one.close()


def test_a_free_slot_rings_too(bell: Bell) -> None:
    waiting = _waited_for(bell, for_pushes=False)
    bell.ring()
    waiting.join(LONG_SECONDS / 2)
    assert not waiting.is_alive()
    assert not bell.silence()


def test_a_redis_user_without_the_right_is_told_so(
    intake: Intake, valkey_server: EmbeddedValkey
) -> None:
    words = ("on", ">x", "~*", "&*", "+@all", "-blmove")
    intake.client.execute_command("ACL", "SETUSER", "lesser", *words)
    lesser = Intake.at(valkey_server.url.replace("redis://", "redis://lesser:x@"))
    bell = Bell(lesser)
    try:
        with structlog.testing.capture_logs() as logs:
            bell.start()
            bell.wait(1.0, for_pushes=True)
            bell.close()
        assert not bell.silence()
        assert {line["event"] for line in logs} == {
            "pushes are seen only when the dispatcher looks"
        }
        assert len(logs) == len(PRIORITIES)
    finally:
        lesser.close()
        intake.client.execute_command("ACL", "DELUSER", "lesser")
