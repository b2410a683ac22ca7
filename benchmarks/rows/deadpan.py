"""Deadpan, from RPUSH to committed verdicts: Valkey, one worker with default settings, SQLite."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Result, RowFailed, Usage, Verdicts
from benchmarks.rows.service import Service, Setup, timed
from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess
from worker.local.services import migrate_database, wait_until_ready, worker_process


class Deadpan(Service):
    """One worker, as `deadpan worker` starts it."""

    name = "deadpan"

    def _start(self, running: ExitStack) -> None:
        setup = self.setup
        url = f"sqlite:///{setup.database}"
        migrate_database(url)
        valkey = running.enter_context(EmbeddedValkey(setup.folder / "valkey"))
        environment = setup.environment(
            DEADPAN_REDIS_URL=valkey.url,
            DEADPAN_DATABASE_URL=url,
            DEADPAN_SOURCE=setup.source,
            DEADPAN_EVIDENCE_URL=str(setup.folder / "evidence"),
            DEADPAN_ALLOW_PRIVATE_ADDRESSES="127.0.0.0/8",
            DEADPAN_LOG_LEVEL="warning",
        )
        self.worker = running.enter_context(self._worker(environment))
        self.intake = Intake.at(valkey.url)
        running.callback(self.intake.close)
        wait_until_ready(self.worker, self.intake)

    def _worker(self, environment: dict[str, str]) -> ChildProcess:
        return worker_process(environment, log_path=self.setup.folder / "worker.log")

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """RPUSH, a few thousand ids at once."""
        return lambda: self._enqueue(post_ids)

    def push(self, post_id: str) -> None:
        """RPUSH."""
        self.intake.enqueue([post_id])

    def problem(self) -> str | None:
        """A worker that had to be started again was not measured."""
        if self.worker.restarts or self.worker.exit_code is not None:
            return f"the worker ended: {self.worker.last_words(3)}"
        return None

    def more(
        self, usage: Usage, verdicts: Verdicts, ids: Sequence[str], result: Result
    ) -> list[Result]:
        """The same posts under new ids, then the same ids once more."""
        again = [f"{post_id}-again" for post_id in ids]
        repeated = timed(self, verdicts, usage, again)
        repeated.row = "deadpan, repeated"
        cpu = usage.cpu_seconds()
        started = time.monotonic()
        self._enqueue(ids)
        self._wait_until_idle()
        seconds = time.monotonic() - started
        time.sleep(0.5)
        unchanged = Result(
            "deadpan, unchanged",
            posts=len(ids),
            seconds=seconds,
            cpu_seconds=usage.cpu_seconds() - cpu,
        )
        return [repeated, unchanged]

    def _enqueue(self, post_ids: Sequence[str]) -> None:
        self.intake.enqueue(post_ids)

    def _wait_until_idle(self) -> None:
        """An unchanged post leaves no new verdict: its end is that Redis holds it no more."""
        deadline = time.monotonic() + 300
        while True:
            status = self.intake.status()
            if not any(status["intake"].values()) and not status["chunks"]:
                return
            if time.monotonic() > deadline:
                raise RowFailed("unchanged posts were not finished within 300 s")
            if problem := self.problem():
                raise RowFailed(problem)
            time.sleep(0.01)


class DeadpanByStage(Deadpan):
    """The same worker with a clock at its stages: for the split of CPU time, not for its speed."""

    name = "deadpan, by stage"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._stages = setup.folder / "stages.jsonl"

    def _worker(self, environment: dict[str, str]) -> ChildProcess:
        return ChildProcess(
            "worker",
            [sys.executable, "-m", "benchmarks.programs.deadpan_worker", str(self._stages)],
            environment=environment,
            log_path=self.setup.folder / "worker.log",
        )

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """As Deadpan; notes what the clock says before."""
        go = super().push_all(post_ids)
        time.sleep(0.6)  # so that the last snapshot is of an idle worker
        self._before = self._snapshot()
        return go

    def more(
        self, usage: Usage, verdicts: Verdicts, ids: Sequence[str], result: Result
    ) -> list[Result]:
        """No further results; the stages are added to the one there is."""
        time.sleep(0.6)
        after = self._snapshot()
        used = {name: after[name] - self._before[name] for name in after}
        del used["total"]
        result.stages = used
        missing = [line for line in self._log() if line.startswith("no such stage")]
        result.notes += missing
        return []

    def _snapshot(self) -> dict[str, float]:
        cpu = self.intake.client.info("cpu")
        return {
            **_last(self._stages),
            "valkey": float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        }

    def _log(self) -> list[str]:
        return (
            (self.setup.folder / "worker.log")
            .read_text(errors="replace", encoding="utf-8")
            .splitlines()
        )


def _last(path: Path) -> dict[str, float]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, float] = json.loads(lines[-1])
    return found
