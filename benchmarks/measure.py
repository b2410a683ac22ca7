"""What is measured: time by the database, CPU and memory by the system."""

from __future__ import annotations

import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

MARK = "BENCH_ROW"
"""Environment variable that every process of a row inherits, whatever became of its parent."""

STALLED_SECONDS = 60.0
"""A row that brings no verdict for so long has failed."""


class RowFailed(Exception):
    """A row could not be measured; says why."""


@dataclass(slots=True)
class Result:
    """One row in one round.

    Attributes:
        posts: how many were judged while the clock ran.
        seconds: from the first push to the last commit.
        cpu_seconds: of all processes of the row, over the same posts.
        rss_mb, pss_mb: peak of the sum over all processes; PSS counts shared pages once.
        latencies_ms: from push to commit, each post, at half of this row's throughput.
        stages: CPU seconds by stage, where the row can tell.
        failed: why there is no result.
        notes: what a reader should know.
    """

    row: str
    posts: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    pss_mb: float | None = None
    latencies_ms: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Posts per second."""
        return self.posts / self.seconds if self.seconds else 0.0

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per post."""
        return 1000 * self.cpu_seconds / self.posts if self.posts else 0.0

    @property
    def stages_ms(self) -> dict[str, float]:
        """CPU milliseconds per post by stage."""
        return {name: 1000 * seconds / self.posts for name, seconds in self.stages.items()}


class Usage:
    """CPU time and memory of all processes that carry a mark in their environment.

    Memory is sampled by a thread while the block is open; a sample costs the machine about a
    millisecond, PSS more, so that is read once in a while.

    Args:
        mark: the value of `MARK`.
        interval_seconds: between samples.
    """

    def __init__(self, mark: str, *, interval_seconds: float = 0.5) -> None:
        self._mark = mark
        self._interval_seconds = interval_seconds
        self._known: dict[int, psutil.Process] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self.rss_mb = 0.0
        self.pss_mb: float | None = None

    def __enter__(self) -> Self:
        self.processes()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample(with_pss=True)

    def processes(self) -> list[psutil.Process]:
        """The processes that live now; looks through all of the machine."""
        found = marked_processes(self._mark)
        self._known = {process.pid: process for process in found}
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far, with that of children that have ended."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0)
                total += getattr(times, "children_system", 0.0)
        return total

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._interval_seconds):
            number += 1
            self._sample(with_pss=number % 8 == 0)

    def _sample(self, *, with_pss: bool) -> None:
        rss = pss = 0.0
        for process in list(self._known.values()):
            with suppress(psutil.Error):
                rss += process.memory_info().rss
                if with_pss:
                    pss += _pss_bytes(process.pid)
        self.rss_mb = max(self.rss_mb, rss / 2**20)
        if with_pss and pss:
            self.pss_mb = max(self.pss_mb or 0.0, pss / 2**20)


def marked_processes(mark: str) -> list[psutil.Process]:
    """All processes whose environment carries this mark, except this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end_marked(mark: str) -> int:
    """End what a row has left behind, by its mark. Gives how many processes that were."""
    left = marked_processes(mark)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return len(left)


def _pss_bytes(pid: int) -> int:
    """Proportional set size; 0 where the system does not tell (it is Linux that does)."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Verdicts:
    """Watches the verdicts of a row appear in its SQLite database: a commit counts, no promise.

    Args:
        path: the database; its table `verdicts` has a growing `id` and `post_id`.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        self._last = 0

    def new(self) -> list[str]:
        """Ids of posts whose verdicts were committed since the last call."""
        with closing(
            self._connection.execute(
                "SELECT id, post_id FROM verdicts WHERE id > ? ORDER BY id", (self._last,)
            )
        ) as cursor:
            rows = cursor.fetchall()
        if rows:
            self._last = rows[-1][0]
        return [row[1] for row in rows]

    def wait_for(
        self,
        post_ids: Sequence[str],
        *,
        alive: Callable[[], str | None] = lambda: None,
        interval_seconds: float = 0.01,
    ) -> float:
        """Wait until each of these posts has a verdict.

        Args:
            alive: why waiting on is in vain, or None.

        Returns:
            The monotonic time at which the last was seen.

        Raises:
            RowFailed: nothing moves.
        """
        waiting = set(post_ids)
        moved = time.monotonic()
        while waiting:
            found = self.new()
            now = time.monotonic()
            if found:
                waiting -= set(found)
                moved = now
            elif now - moved > STALLED_SECONDS:
                raise RowFailed(
                    f"{len(waiting)} of {len(post_ids)} posts have no verdict, and nothing moved "
                    f"for {STALLED_SECONDS:.0f} s"
                )
            if waiting:
                if problem := alive():
                    raise RowFailed(problem)
                time.sleep(interval_seconds)
        return now if post_ids else time.monotonic()

    def close(self) -> None:
        """Give back the connection."""
        self._connection.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed, between neighbours linear.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("a percentile of no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Sequence[float]) -> float:
    """The median; 0 of no values, which is how a row that failed is shown."""
    return statistics.median(values) if values else 0.0


def median_stages(results: Sequence[Result]) -> Mapping[str, float]:
    """Median over rounds of the CPU milliseconds per post, by stage."""
    names = dict.fromkeys(name for result in results for name in result.stages)
    return {name: median([result.stages_ms.get(name, 0.0) for result in results]) for name in names}
