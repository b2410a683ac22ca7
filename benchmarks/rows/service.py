"""A row that judges posts as a service, and how all of them are measured."""

from __future__ import annotations

import os
import random
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.measure import STALLED_SECONDS, Result, RowFailed, Usage, Verdicts
from benchmarks.workload import LATENCY_COPY, WARM_COPY, Workload

KEPT_SETTINGS = (
    "MODEL",
    "DEVICE",
    "ENGINE",
    "POLICY",
    "CHUNK_SIZE",
    "SLOTS",
    "EXPLAIN",
)
ROOT = Path(__file__).parents[2]

MIN_LATENCY_POSTS = 20


@dataclass(frozen=True, slots=True)
class Setup:
    """What one row gets in one round.

    Attributes:
        folder: empty, the row's own.
        mark: of its processes; see `measure.MARK`. Its children inherit it from this process.
        workload: the posts.
        source: the platform's URL with `{ids}`.
        count: posts to judge while the clock runs.
        latency_seconds: how long posts come in at half load; 0 leaves it out.
        seed: of the arrivals.
        venvs: where peers' environments are.
    """

    folder: Path
    mark: str
    workload: Workload
    source: str
    count: int
    latency_seconds: float
    seed: int
    venvs: Path

    @property
    def database(self) -> Path:
        """The row's SQLite file."""
        return self.folder / "verdicts.db"

    def environment(self, **more: str) -> dict[str, str]:
        """For a child: this process's environment, Deadpan's settings as they are by default.

        `DEADPAN_MODEL`, `DEADPAN_ENGINE` and a few others are kept: they are the same for all rows.
        """
        kept = {f"DEADPAN_{name}" for name in KEPT_SETTINGS}
        own = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_") or k in kept}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return own | {"PYTHONPATH": path} | more


class Service(AbstractContextManager["Service"]):
    """Something that takes ids and writes verdicts; ready when it is entered.

    Attributes:
        name: of the row.
        share: of the posts that this row gets; a slow one gets fewer, evenly spread.
    """

    name: str
    share: float = 1.0
    warm_posts: int = 128

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def __enter__(self) -> Self:
        with ExitStack() as running:
            self._start(running)
            self._running = running.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, trace)

    @abstractmethod
    def _start(self, running: ExitStack) -> None:
        """Start what the row needs; `running` ends it."""

    @abstractmethod
    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """Make ready to push these ids; the function that is returned pushes them."""

    @abstractmethod
    def push(self, post_id: str) -> None:
        """Push one id."""

    @abstractmethod
    def problem(self) -> str | None:
        """Why no more verdicts will come, or None."""

    def more(
        self, usage: Usage, verdicts: Verdicts, ids: Sequence[str], result: Result
    ) -> list[Result]:
        """Further results of the same service, after the posts of `result` were judged."""
        return []


def measure(service_class: Callable[[Setup], Service], setup: Setup) -> list[Result]:
    """Start, warm up, judge against the clock, then judge at half load; all over SQLite.

    Raises:
        RowFailed, DeadpanError: it could not be measured.
    """
    with service_class(setup) as service, Usage(setup.mark) as usage:
        verdicts = Verdicts(setup.database)
        try:
            workload = setup.workload
            warm = workload.ids(
                max(2, min(service.warm_posts, setup.count)), "warm", first_copy=WARM_COPY
            )
            timed(service, verdicts, usage, warm)
            count = max(1, round(setup.count * service.share))
            ids = workload.sample(count, setup.count, "new")
            result = timed(service, verdicts, usage, ids)
            result.row = service.name
            further = service.more(usage, verdicts, ids, result)
            if setup.latency_seconds > 0:
                result.latencies_ms = latencies(service, verdicts, result.rate / 2)
        finally:
            verdicts.close()
    result.rss_mb, result.pss_mb = usage.rss_mb, usage.pss_mb
    return [result, *further]


def timed(service: Service, verdicts: Verdicts, usage: Usage, ids: Sequence[str]) -> Result:
    """Push ids all at once and wait for their verdicts.

    Raises:
        RowFailed: not all of them came.
    """
    go = service.push_all(ids)
    cpu = usage.cpu_seconds()
    started = time.monotonic()
    go()
    ended = verdicts.wait_for(ids, alive=service.problem)
    # what goes on behind the last commit belongs to it: release, acknowledgements, answers
    time.sleep(0.5)
    used = usage.cpu_seconds() - cpu
    return Result(service.name, posts=len(ids), seconds=ended - started, cpu_seconds=used)


def latencies(service: Service, verdicts: Verdicts, rate: float) -> list[float]:
    """Milliseconds from push to commit, of each post, while posts arrive at random.

    Args:
        rate: posts per second; their arrivals are a Poisson process.

    Raises:
        RowFailed: a post got no verdict.
    """
    setup = service.setup
    count = max(MIN_LATENCY_POSTS, round(rate * setup.latency_seconds))
    ids = setup.workload.ids(count, f"late{setup.seed}", first_copy=LATENCY_COPY)
    dice = random.Random(setup.seed)  # noqa: S311 - repeatable, no secret
    due, moment = [], 0.0
    for _ in ids:
        moment += dice.expovariate(rate)
        due.append(moment)
    pushed: dict[str, float] = {}
    waits: list[float] = []
    started = moved = time.monotonic()
    following = 0
    while len(waits) < count:
        now = time.monotonic()
        while following < count and now - started >= due[following]:
            pushed[ids[following]] = time.monotonic()
            service.push(ids[following])
            following += 1
        found = verdicts.new()
        now = time.monotonic()
        for post_id in found:
            if post_id in pushed:
                waits.append(1000 * (now - pushed.pop(post_id)))
                moved = now
        if pushed and now - moved > STALLED_SECONDS:
            raise RowFailed(f"no verdict at half load for {STALLED_SECONDS:.0f} s")
        if problem := service.problem():
            raise RowFailed(problem)
        time.sleep(0.005)
    return waits
