"""Signals and children: whatever the moment, what was started ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from worker.processes import ChildProcess, Interrupts, Running


class Unlucky(ChildProcess):
    """A signal comes when the child has just been started."""

    def _spawn(self) -> None:
        super()._spawn()
        signal.raise_signal(signal.SIGTERM)


def sleeper(kind: type[ChildProcess], folder: Path) -> ChildProcess:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    return kind("sleeper", command, log_path=folder / "log", restart=True)


def test_a_signal_while_a_child_starts_leaves_no_child_behind(tmp_path: Path) -> None:
    child = sleeper(Unlucky, tmp_path)
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        with child:
            pytest.fail("the signal is heard before the block")
    assert child.exit_code is not None
    assert not psutil.pid_exists(child.pid)


def test_a_signal_while_something_is_entered_is_heard_when_it_will_be_left() -> None:
    told = []

    @contextmanager
    def unlucky(name: str) -> Iterator[None]:
        told.append(f"{name} begins")
        signal.raise_signal(signal.SIGINT)
        told.append(f"{name} has begun")
        try:
            yield
        finally:
            # an impatient person; the other one is ended all the same
            signal.raise_signal(signal.SIGINT)
            told.append(f"{name} ends")

    def start() -> None:
        with Running() as running:
            running.callback(told.append, "all is ended")
            running.enter_context(unlucky("it"))
            pytest.fail("the signal is heard before more is started")

    with Interrupts(), pytest.raises(KeyboardInterrupt):
        start()
    assert told == ["it begins", "it has begun", "it ends", "all is ended"]


def test_a_second_press_does_not_interrupt_the_end_that_the_first_asked_for() -> None:
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)


def test_one_that_was_not_heeded_can_be_pressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.monotonic
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(time, "monotonic", lambda: real() + 2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_process_was_started_to_ignore_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupts():
            signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
