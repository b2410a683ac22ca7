"""The workers of this machine: added, started again after a crash, drained."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from deadpan.core.errors import DeadpanError
from models.engines import gpus
from worker.local.processes import ChildProcess

log = structlog.get_logger(__name__)

GRACE_SECONDS = 60.0
"""What a worker gets to finish its chunks; they take about five seconds
(tasks/watches/pace.py)."""

CORES_PER_WORKER = 2
"""One worker keeps two cores busy (docs/performance.md)."""

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_LIVED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one worker.

    Attributes:
        environment: what its worker gets besides.
        cores: that it keeps to; empty for all.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: frozenset[int] = frozenset()


def places(count: int, *, device: str) -> list[Place]:
    """Room for `count` workers, or for as many as the machine has room for when it is 0.

    With GPUs that torch can use (and a device other than cpu) one worker for each, and more share
    them in turn; on a CPU each keeps to cores of its own, so that they do not get in each other's
    way.
    """
    found = [] if device == "cpu" else gpus.visible()
    if found and not gpus.torch_uses_gpus():
        log.warning("workers run on CPUs", why=gpus.unusable_problem())
        found = []
    if found:
        chosen = [found[n % len(found)] for n in range(count or len(found))]
        return [Place(gpu.name, gpu.environment) for gpu in chosen]
    cores = _cores()
    count = count or max(1, len(cores) // CORES_PER_WORKER)
    share = max(1, len(cores) // count)
    return [
        Place(f"cpu{n}", cores=frozenset(cores[(n * share + k) % len(cores)] for k in range(share)))
        for n in range(count)
    ]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass(slots=True)
class _Running:
    place: int
    name: str
    child: ChildProcess
    started: float


class LocalFleet:
    """Worker processes of this machine. Used by one thread.

    Args:
        environment: of the workers; those with a metrics port get the ports after it.
        metrics_port: of whoever runs the fleet; 0 for none.
        folder: where each place's log is.
    """

    def __init__(
        self,
        places: Sequence[Place],
        environment: Mapping[str, str],
        *,
        metrics_port: int,
        folder: Path,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._places = list(places)
        self._environment = dict(environment)
        self._metrics_port = metrics_port
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._running: list[_Running] = []
        self._draining: list[tuple[_Running, threading.Thread]] = []
        self._not_before: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._names: set[str] = set()

    @property
    def running(self) -> int:
        """Workers that are to go on."""
        return len(self._running)

    @property
    def draining(self) -> int:
        """Workers that finish what they have in hand and go."""
        return len(self._draining)

    @property
    def names(self) -> set[str]:
        """Of all there ever were, without the host: Redis knows a killed one for a while."""
        return self._names

    def apply(self, wanted: int) -> None:
        """Start or drain workers until `wanted` are to go on; to be called again and again.

        Raises:
            DeadpanError: a worker says that the configuration is wrong; with the end of its log.
        """
        self._draining = [(one, thread) for one, thread in self._draining if thread.is_alive()]
        self._bury()
        while self.running > max(0, wanted):
            self._drain(self._running.pop())
        busy = {one.place for one in (*self._running, *(one for one, _ in self._draining))}
        for number in range(len(self._places)):
            if self.running >= wanted:
                return
            if number not in busy and time.monotonic() >= self._not_before.get(number, 0.0):
                self._start(number)

    def close(self) -> None:
        """Drain all, and wait for it."""
        while self._running:
            self._drain(self._running.pop())
        for _, thread in self._draining:
            thread.join()
        self._draining = []

    def _bury(self) -> None:
        """Note workers that ended by themselves; `apply` starts others, each time later."""
        for one in list(self._running):
            code = one.child.exit_code
            if code is None:
                continue
            self._running.remove(one)
            if code == 2:
                raise DeadpanError(
                    f"worker {one.name} cannot work as configured:\n{one.child.last_words()}"
                )
            now = time.monotonic()
            short = now - one.started < _LIVED_SECONDS
            pause = self._pauses.get(one.place, _PAUSE_SECONDS) if short else _PAUSE_SECONDS
            self._pauses[one.place] = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._not_before[one.place] = now + pause
            log.warning("worker ended; another is started", worker=one.name, code=code)

    def _start(self, number: int) -> None:
        place = self._places[number]
        name = f"{place.name}-{secrets.token_hex(3)}"
        environment = {**self._environment, **place.environment}
        if self._metrics_port:
            environment["DEADPAN_METRICS_PORT"] = str(self._metrics_port + 1 + number)
        child = ChildProcess(
            f"worker {name}",
            [sys.executable, "-m", "deadpan", "worker", "--name", name],
            environment=environment,
            log_path=self._folder / f"{place.name}.log",
            grace_seconds=self._grace_seconds,
        )
        child.start()
        if place.cores and hasattr(os, "sched_setaffinity"):
            # Its threads come later and inherit it; should it have ended already, `_bury` sees it.
            with suppress(OSError):
                os.sched_setaffinity(child.pid, place.cores)
        self._names.add(name)
        self._running.append(_Running(number, name, child, time.monotonic()))
        log.info("worker started", worker=name, pid=child.pid)

    def _drain(self, one: _Running) -> None:
        thread = threading.Thread(target=one.child.stop, name=f"drain-{one.name}", daemon=True)
        thread.start()
        self._draining.append((one, thread))
        log.info("worker drains", worker=one.name, pid=one.child.pid)
