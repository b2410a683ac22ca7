"""What a challenger costs the champion: a worker alone, and with a challenger of the same size.

    python -m benchmarks.challenger [POSTS.jsonl] [--rounds 3] [--count 896] [--shares 0,0.1,1]

The challenger is the champion with another calibration, so it costs the same for each post. Rounds
take turns. The clock stops when the champion's verdicts are committed, CPU is of the whole worker
until then, and what the challenger has judged by then stands beside it.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.measure import MARK, Result, RowFailed, Usage, Verdicts, end_marked, median
from benchmarks.posts_server import platform_process
from benchmarks.rows.deadpan import Deadpan
from benchmarks.rows.service import Setup, measure
from benchmarks.workload import Workload
from models.checkpoint.calibration import Calibration
from models.checkpoint.checkpoint import write_calibration
from worker.local.processes import ChildProcess, Interrupts

WARM_SECONDS = 120


class WithChallenger(Deadpan):
    """One worker, with a challenger for a share of its posts; none for a share of 0."""

    def __init__(self, challenger: Path, share: float, setup: Setup) -> None:
        super().__init__(setup)
        self.name = f"challenger for {share:.0%}" if share else "alone"
        self._more = {"DEADPAN_LOG_LEVEL": "info"}
        if share:
            self._more["DEADPAN_CHALLENGER"] = str(challenger)
            self._more["DEADPAN_CHALLENGER_SHARE"] = str(share)

    def _worker(self, environment: dict[str, str]) -> ChildProcess:
        return super()._worker(environment | self._more)

    def _start(self, running: ExitStack) -> None:
        super()._start(running)
        deadline = time.monotonic() + WARM_SECONDS
        while "DEADPAN_CHALLENGER" in self._more and not self._is_warm():
            if time.monotonic() > deadline:
                raise RowFailed(f"no challenger within {WARM_SECONDS} s")
            time.sleep(0.1)

    def _is_warm(self) -> bool:
        log = (self.setup.folder / "worker.log").read_text(errors="replace", encoding="utf-8")
        return "challenger is warm" in log

    def more(
        self, usage: Usage, verdicts: Verdicts, ids: Sequence[str], result: Result
    ) -> list[Result]:
        """How many of these posts the challenger has judged by now."""
        with sqlite3.connect(self.setup.database) as connection:
            tag = f"%-{ids[0].rsplit('-', 1)[1]}"
            count = "SELECT count(*) FROM challenger_verdicts WHERE post_id LIKE ?"
            (judged,) = connection.execute(count, (tag,)).fetchone()
        connection.close()
        result.notes.append(str(judged))
        return []


def main() -> None:
    """Measure, and print a table in Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("posts", nargs="?", type=Path, help="JSONL; else the demo's own posts")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--count", type=int, default=896)
    arguments.add_argument("--shares", default="0,0.1,1")
    wanted = arguments.parse_args()
    shares = [float(part) for part in wanted.shares.split(",")]
    workload = Workload(wanted.posts.resolve() if wanted.posts else None)
    found: dict[float, list[Result]] = {share: [] for share in shares}
    with Interrupts(), ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        challenger = folder / "challenger"
        # Not calibrated, so that its version is another and its cost the same.
        write_calibration("mini", Calibration(), challenger)
        source = running.enter_context(platform_process(workload, folder)).source
        for number in range(wanted.rounds):
            for share in shares:
                mark = uuid.uuid4().hex
                own = folder / f"{number}-{share}"
                own.mkdir()
                setup = Setup(own, mark, workload, source, wanted.count, 0.0, number, folder)
                os.environ[MARK] = mark
                try:
                    (result,) = measure(partial(WithChallenger, challenger, share), setup)
                finally:
                    with Interrupts.deferred():
                        del os.environ[MARK]
                        end_marked(mark)
                found[share].append(result)
                said = f"{result.rate:.1f} posts/s, {result.cpu_ms:.2f} ms CPU a post"
                print(f"{result.row}: {said}, {result.notes}", file=sys.stderr, flush=True)
    print("| worker | posts a second | CPU a post | judged by the challenger |")
    print("|---|---|---|---|")
    for results in found.values():
        rate = median([result.rate for result in results])
        cpu = median([result.cpu_ms for result in results])
        judged = median([float(result.notes[-1]) for result in results])
        print(f"| {results[0].row} | {rate:.0f} | {cpu:.2f} ms | {judged:.0f} of {wanted.count} |")


if __name__ == "__main__":
    main()
