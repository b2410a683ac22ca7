"""Signals and children: whatever the moment, what was started ends."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.harness import wait_until
from worker.local import reaper
from worker.local.processes import ChildProcess, Interrupts, Running

ROOT = Path(__file__).parents[3]


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


FAMILY = """
import signal, sys, time
from pathlib import Path
from worker.local.processes import ChildProcess

folder = Path(sys.argv[1])
SAYS = '''
import os, signal, sys, time
from pathlib import Path
notes, name, stays = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "stays"
if os.fork() == 0:
    time.sleep(600)
def ended(*_):
    with notes.open("a") as file:
        file.write(name + "\\\\n")
    if not stays:
        time.sleep(0.3)
        os._exit(0)
signal.signal(signal.SIGTERM, ended)
(notes.parent / name).write_text(str(os.getpid()))
while True:
    time.sleep(600)
'''
def child(name, how="goes", **more):
    command = [sys.executable, "-c", SAYS, str(folder / "notes"), name, how]
    return ChildProcess(name, command, log_path=folder / f"{name}.log", **more)
server = child("server", serves_others=True)
server.start()
child("worker", restart=True).start()
child("deaf", "stays", grace_seconds=1).start()
(folder / "parent").write_text("")
time.sleep(600)
"""
"""A parent with a server, a worker, and a child that does not heed SIGTERM; each has a child."""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[psutil.Process, Callable[[], list[int]]]]:
    parent = subprocess.Popen([sys.executable, "-c", FAMILY, str(tmp_path)], cwd=ROOT)
    names = ("server", "worker", "deaf", "parent")
    wait_until(lambda: all((tmp_path / name).exists() for name in names), "a whole family")

    def living() -> list[int]:
        return [
            process.pid
            for process in psutil.process_iter(["cmdline", "status"])
            if str(tmp_path / "notes") in (process.info["cmdline"] or [])
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ]

    yield psutil.Process(parent.pid), living
    parent.kill()
    parent.wait()
    wait_until(lambda: not living(), "the end of all")


def test_children_of_a_killed_process_end_in_order_and_so_do_theirs(
    tmp_path: Path, family: tuple[psutil.Process, Callable[[], list[int]]]
) -> None:
    parent, living = family
    assert len(living()) >= 6
    parent.kill()
    wait_until(lambda: not living(), "the end of all")
    notes = (tmp_path / "notes").read_text().split()
    assert sorted(notes[:2]) == ["deaf", "worker"]
    assert notes[2] == "server", "it served the others until they had ended"


def test_a_reaper_that_was_killed_itself_is_followed_by_another(tmp_path: Path) -> None:
    script = """
import subprocess, sys, time
from pathlib import Path
from worker.local import processes

folder = Path(sys.argv[1])
def child(name):
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(folder)]
    return processes.ChildProcess(name, command, log_path=folder / name)
first, gone, second = child("first"), child("gone"), child("second")
first.start()
gone.start()
gone.stop()
processes._reaper._process.kill()
processes._reaper._process.wait()
second.start()
(folder / "pids").write_text(f"{first.pid} {gone.pid} {second.pid}")
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    wait_until(lambda: len(read(tmp_path / "pids").split()) == 3, "two children")
    parent.kill()
    parent.wait()
    pids = [int(pid) for pid in read(tmp_path / "pids").split()]
    wait_until(lambda: not any(map(lives, pids)), "the end of both")


def lives(pid: int) -> bool:
    """Whether it has not ended; nobody may have waited for it yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_a_process_that_got_the_number_of_a_child_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    leader = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        lines = [f"+ {stranger.pid} 1.0 0\n", f"+ {leader.pid} 1.0 0\n", "rubbish\n", "+ x\n"]
        left = reaper.watch(line.encode() for line in lines)
        assert [child.pid for child in left] == [stranger.pid, leader.pid]
        older = [dataclasses.replace(child, started="1") for child in left]
        reaper.end(left[:1] if sys.platform == "darwin" else older)
        assert stranger.poll() is None
        assert leader.poll() is None
        reaper.end(left)
        assert stranger.poll() is None, "it is in our own session: none that we started is"
        assert leader.wait(10) == -signal.SIGTERM
    finally:
        for process in (stranger, leader):
            process.kill()
            process.wait()


def test_children_that_ended_in_order_are_forgotten() -> None:
    lines = [b"+ 10 1.0 0\n", b"+ 11 1.0 1\n", b"- 10\n"]
    assert [child.pid for child in reaper.watch(lines)] == [11]
