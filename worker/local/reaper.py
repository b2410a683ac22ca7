"""Ends the children of a process that ended without doing so: killed, out of memory, out of time.

A program of its own, started by `worker.local.processes` as a file, so that it imports nothing else
of ours and is there within milliseconds. It reads from a pipe that its parent and every child which
is about to start hold open: when nobody does any more, the parent has ended. A line is

    + PID GRACE_SECONDS LAYER     written by a child before it becomes what it is to be
    - PID                         written by the parent when it has seen the child's end

Children of a lower layer are ended first: a worker gives back what it has in hand while the server
that it gives it to still lives.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

LOOK_SECONDS = 0.05

_DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""It ends when there is nothing left to do, and not with its parent's terminal."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process, known by more than a number that another may have by now."""

    pid: int
    grace_seconds: float
    layer: int
    started: str | None

    def lives(self) -> bool:
        """Whether it is there and has not ended."""
        try:
            if os.getsid(self.pid) != self.pid:  # each is started in a session of its own
                return False
        except OSError:
            return False
        state = _state(self.pid)
        return state is None or (state[0] not in ("Z", "X") and state[1] == self.started)


def _state(pid: int) -> tuple[str, str] | None:
    """Its state and when it started, as Linux tells it; None elsewhere."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]


def watch(lines: Iterable[bytes]) -> list[Child]:
    """Follow the lines until there are no more; gives the children that are left."""
    children: dict[int, Child] = {}
    for line in lines:
        with suppress(ValueError, IndexError):
            what, pid, *rest = line.decode().split()
            children.pop(int(pid), None)
            if what == "+":
                state = _state(int(pid))
                children[int(pid)] = Child(
                    int(pid), float(rest[0]), int(rest[1]), state and state[1]
                )
    return list(children.values())


def end(children: Iterable[Child]) -> None:
    """SIGTERM, then SIGKILL for each and all that it started."""
    left = [child for child in children if child.lives()]
    began = time.monotonic()
    for child in left:
        with suppress(OSError):
            os.kill(child.pid, signal.SIGTERM)
    while left:
        for child in list(left):
            if child.lives() and time.monotonic() - began < child.grace_seconds:
                continue
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            left.remove(child)
        time.sleep(LOOK_SECONDS)


def main() -> None:
    """Until the parent has ended, and then its children."""
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    children = watch(sys.stdin.buffer)
    for layer in sorted({child.layer for child in children}):
        end(child for child in children if child.layer == layer)


if __name__ == "__main__":
    main()
