"""`make bench`: every row in one run, on the same posts, with a table and a plot at the end.

    python -m benchmarks.bench [POSTS.jsonl] [--rounds 3] [--rows limit,deadpan] [--count 896]

Rows are interleaved: each round runs all of them, so what slows the machine down for a while slows
all of them down.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import report
from benchmarks.measure import MARK, Result, RowFailed, end_marked
from benchmarks.posts_server import platform_process
from benchmarks.rows.deadpan import Deadpan, DeadpanByStage
from benchmarks.rows.limit import measure_limit
from benchmarks.rows.peers import CeleryBatches, LitServe, Naive, RayServe
from benchmarks.rows.service import KEPT_SETTINGS, ROOT, Setup, measure
from benchmarks.workload import Workload
from deadpan.core.errors import DeadpanError
from worker.local.processes import Interrupts

ROWS: dict[str, Callable[[Setup], list[Result]]] = {
    "limit": measure_limit,
    "deadpan": partial(measure, Deadpan),
    "stages": lambda setup: measure(DeadpanByStage, _without_latency(setup)),
    "naive": partial(measure, Naive),
    "celery-batches": partial(measure, CeleryBatches),
    "ray-serve": partial(measure, RayServe),
    "litserve": partial(measure, LitServe),
}
_NAMES = {"stages": DeadpanByStage.name}
COUNT = 896
"""Posts a row: fourteen full chunks."""


def run(
    *,
    workload: Workload,
    rows: list[str],
    rounds: int,
    count: int,
    latency_seconds: float,
    venvs: Path,
    say: Callable[[str], None],
) -> list[Result]:
    """Measure.

    Args:
        rows: of `ROWS`.
        rounds: how often each.
        count: posts a row (a slow one takes a share of them).
        latency_seconds: how long posts come in at half load.
        venvs: where the peers' environments are kept.
        say: told what happens.

    Returns:
        A result of each row and round; what could not be measured says why.
    """
    results: list[Result] = []
    with Interrupts(), ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        source = running.enter_context(platform_process(workload, folder)).source
        for number in range(rounds):
            for row in rows:
                began = time.monotonic()
                for result in _one(
                    row, number, folder, workload, source, count, latency_seconds, venvs
                ):
                    results.append(result)
                    said = (
                        f"failed: {result.failed}"
                        if result.failed
                        else f"{result.rate:.1f} posts/s, {result.cpu_ms:.2f} ms CPU a post"
                    )
                    say(f"round {number + 1}, {result.row}: {said}")
                say(f"  ({time.monotonic() - began:.0f} s)")
    return results


def _one(
    row: str,
    number: int,
    folder: Path,
    workload: Workload,
    source: str,
    count: int,
    latency_seconds: float,
    venvs: Path,
) -> list[Result]:
    mark = uuid.uuid4().hex
    # Short: Ray puts Unix sockets below it, and their paths have a limit of about 100 bytes.
    own = folder / f"{number}{row[:2]}"
    own.mkdir()
    setup = Setup(own, mark, workload, source, count, latency_seconds, number, venvs)
    os.environ[MARK] = mark
    try:
        return ROWS[row](setup)
    except (RowFailed, DeadpanError) as error:
        return [Result(_NAMES.get(row, row), failed=str(error))]
    finally:
        with Interrupts.deferred():  # an impatient second Ctrl-C must leave nothing behind either
            del os.environ[MARK]
            end_marked(mark)
            shutil.rmtree(own, ignore_errors=True)


def _without_latency(setup: Setup) -> Setup:
    return replace(setup, latency_seconds=0.0)


def main() -> None:
    """Measure, print, and write the page and the plot."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("posts", nargs="?", type=Path, help="JSONL; else the demo's own posts")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rows", default=",".join(ROWS), help="comma-separated")
    arguments.add_argument("--count", type=int, default=COUNT)
    arguments.add_argument("--latency-seconds", type=float, default=8.0)
    arguments.add_argument("--venvs", type=Path, default=ROOT / ".bench/venvs")
    arguments.add_argument("--json", type=Path, default=ROOT / ".bench/results.json")
    arguments.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    arguments.add_argument("--picture", type=Path, default=ROOT / "docs/images/performance.svg")
    arguments.add_argument("--dry", action="store_true", help="print only; write no page")
    wanted = arguments.parse_args()
    rows = wanted.rows.split(",")
    if unknown := set(rows) - ROWS.keys():
        arguments.error(f"unknown rows {sorted(unknown)}; there are {', '.join(ROWS)}")
    if wanted.posts and not wanted.posts.is_file():
        arguments.error(f"there is no file {wanted.posts}")
    workload = Workload(wanted.posts.resolve() if wanted.posts else None)
    began = time.monotonic()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        results = run(
            workload=workload,
            rows=rows,
            rounds=wanted.rounds,
            count=wanted.count,
            latency_seconds=wanted.latency_seconds,
            venvs=wanted.venvs.absolute(),
            say=say,
        )
    except KeyboardInterrupt:
        say("interrupted; nothing was written, and all that was started has ended")
        sys.exit(130)
    notes = dict.fromkeys(note for result in results for note in result.notes)
    given = [f"DEADPAN_{name}" for name in KEPT_SETTINGS if f"DEADPAN_{name}" in os.environ]
    about = [
        f"posts: {workload.about}; where more are needed, they repeat with an extra word and extra "
        "bytes, so that no cache knows them",
        f"{wanted.rounds} interleaved rounds, medians; {wanted.count} posts a row, fewer where the "
        f"table says so; half load for {wanted.latency_seconds:g} s",
        f"the run took {(time.monotonic() - began) / 60:.1f} minutes",
        *(f"`{name}={os.environ[name]}` for every row" for name in given),
        *notes,
    ]
    relative = os.path.relpath(wanted.picture, wanted.page.parent)
    written = report.block(results, about, relative)
    print(written)
    wanted.json.parent.mkdir(parents=True, exist_ok=True)
    wanted.json.write_text(report.as_json(results), encoding="utf-8")
    if not wanted.dry:
        wanted.page.write_text(
            report.between_markers(wanted.page.read_text(encoding="utf-8"), written),
            encoding="utf-8",
        )
        wanted.picture.write_text(report.plot(results), encoding="utf-8")
    if all(result.failed for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
