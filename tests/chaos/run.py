"""Push, break, wait, count."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from deadpan.core.errors import DeadpanError
from storage.base.database import transaction
from storage.judging import outbox
from storage.tables import dead_letters, gone_posts, verdicts
from tests.chaos.audit import audit
from tests.chaos.plan import Fault, Plan
from tests.chaos.stage import Stage, set_up

DRAIN_SECONDS = 420.0
"""Retries rest for up to about a minute after a long outage; nothing takes longer than this."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that happened.

    Attributes:
        began_seconds, ended_seconds: after the first push.
        recovery_seconds: until the next outcome was committed, from the moment at which this and
            every other server and the source were well again; None if no outcome came.
    """

    fault: Fault
    began_seconds: float
    ended_seconds: float
    recovery_seconds: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found.

    Attributes:
        pushes: ids pushed, with those that were pushed again because Redis went away meanwhile.
        asked: ids asked of the source; more than posts because of retries and lost workers.
        ended_by_themselves: workers that ended without being killed, and were started again.
        standstill_seconds: the longest time without a new outcome while posts waited; an outage of
            the source is one.
        drained_seconds: from the end of the last fault until the last outcome.
        problems: by check; all empty when the promises held.
    """

    plan: Plan
    accepted: int
    pushes: int
    asked: int
    injected: list[Injected]
    ended_by_themselves: int
    standstill_seconds: float
    drained_seconds: float
    outcomes: dict[str, int]
    problems: dict[str, list[str]]


@dataclass
class Progress:
    """Counts outcomes while the run goes on, from a thread."""

    stage: Stage
    moments: list[float] = field(default_factory=list)
    standstill_seconds: float = 0.0

    def watch(self, stop: threading.Event) -> None:
        """Note every moment at which there were more outcomes than before."""
        seen, since = 0, time.monotonic()
        while not stop.wait(0.1):
            try:
                waiting = self._waiting()
                count = sum(_counted(self.stage).values())
            except DeadpanError:
                continue
            now = time.monotonic()
            if count > seen:
                self.standstill_seconds = max(self.standstill_seconds, now - since)
                self.moments.append(now)
            if count > seen or not waiting:
                seen, since = count, now

    def after(self, moment: float) -> float | None:
        """Seconds until the first outcome after a moment."""
        return next((seen - moment for seen in self.moments if seen > moment), None)

    def _waiting(self) -> bool:
        told = self.stage.intake.status()
        return any([*told["intake"].values(), told["chunks"]])


def run(plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> Result:
    """Run a plan from start to end.

    Args:
        folder: for logs, evidence and Valkey's data; empty.
        say: is told what happens.

    Raises:
        AssertionError: the posts were not through in time; with the end of the workers' logs.
    """
    with set_up(plan, folder) as stage:
        _wait_for_workers(stage)
        say(f"{plan.workers} workers are ready; seed {plan.seed}")
        progress, stop = Progress(stage), threading.Event()
        watching = threading.Thread(target=progress.watch, args=(stop,), daemon=True)
        watching.start()
        start = time.monotonic()
        try:
            with ThreadPoolExecutor(max_workers=64) as pool:
                ends = [
                    pool.submit(_inject, stage, fault, start, stop, say) for fault in plan.faults()
                ]
                try:
                    accepted, pushes = _push(stage, start)
                except BaseException:
                    stop.set()
                    raise
                say(f"{len(accepted)} posts are pushed")
            spans = [end.result() for end in ends]
            last = max([start, *(ended for _, ended in spans)])
            _drain(stage, accepted)
            drained = time.monotonic() - last
            time.sleep(0.5)
        finally:
            stop.set()
            watching.join()
        say("all posts are through; counting")
        return Result(
            plan=plan,
            accepted=len(accepted),
            pushes=pushes,
            asked=stage.platform.asked.total(),
            injected=[
                Injected(
                    fault, began - start, ended - start, progress.after(_all_well(ended, spans))
                )
                for fault, (began, ended) in zip(plan.faults(), spans, strict=True)
            ],
            ended_by_themselves=stage.ended_by_themselves(),
            standstill_seconds=progress.standstill_seconds,
            drained_seconds=drained,
            outcomes=_counted(stage),
            problems=audit(stage, accepted),
        )


def _wait_for_workers(stage: Stage) -> None:
    for number, child in enumerate(stage.workers, start=1):
        child.wait_for(lambda number=number: _ready(stage) >= number, timeout_seconds=180.0)  # type: ignore[misc]


def _ready(stage: Stage) -> int:
    return sum(bool(said["ready"]) for said in stage.intake.status()["workers"])


def _inject(
    stage: Stage, fault: Fault, start: float, stop: threading.Event, say: Callable[[str], None]
) -> tuple[float, float]:
    """When it began and ended."""
    if stop.wait(max(0.0, start + fault.at_seconds - time.monotonic())):
        return time.monotonic(), time.monotonic()
    say(f"{time.monotonic() - start:6.1f} s  {fault.kind}, for {fault.for_seconds:.1f} s")
    return time.monotonic(), stage.inject(fault)


def _all_well(moment: float, spans: list[tuple[float, float]]) -> float:
    """The first moment from this one on at which nothing is out of order."""
    while later := [ended for began, ended in spans if began <= moment < ended]:
        moment = max(later)
    return moment


def _push(stage: Stage, start: float) -> tuple[list[str], int]:
    """As a careful producer does: what Redis did not say it accepted is pushed again."""
    accepted: list[str] = []
    pushes = 0
    for at_seconds, priority, ids in stage.plan.bursts():
        time.sleep(max(0.0, start + at_seconds - time.monotonic()))
        while True:
            pushes += len(ids)
            try:
                stage.intake.enqueue(ids, priority)  # type: ignore[arg-type]
                break
            except DeadpanError:
                time.sleep(0.5)
        accepted += ids
    return accepted, pushes


def _drain(stage: Stage, accepted: list[str]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        told = stage.intake.status()
        waits = [*told["intake"].values(), told["chunks"], told["retries"], _untold(stage)]
        if not any(waits):
            return
        assert time.monotonic() < deadline, f"{told} {_counted(stage)}\n{_last_words(stage)}"
        time.sleep(0.2)


def _untold(stage: Stage) -> int:
    with transaction(stage.database, read_only=True) as connection:
        return outbox.backlog(connection).pending


def _counted(stage: Stage) -> dict[str, int]:
    with transaction(stage.database, read_only=True) as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (verdicts, gone_posts, dead_letters)
        }


def _last_words(stage: Stage) -> str:
    return "\n".join(
        f"{child.name}:\n{child.last_words(30)}" for child in (*stage.workers, stage.housekeeping)
    )


def to_terminal(line: str) -> None:
    """For `say`."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
