"""The limit: the bare loop in a process of its own."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.measure import Result, RowFailed, Usage
from benchmarks.rows.service import Setup
from worker.local.processes import ChildProcess

PATIENCE_SECONDS = 600.0


def measure_limit(setup: Setup) -> list[Result]:
    """Run `benchmarks.programs.limit`.

    Raises:
        RowFailed: it ended with an error or took too long.
    """
    arguments = [str(setup.count)]
    if setup.workload.path:
        arguments.append(str(setup.workload.path))
    child = ChildProcess(
        "bare loop",
        [sys.executable, "-m", "benchmarks.programs.limit", *arguments],
        environment=setup.environment(),
        log_path=setup.folder / "limit.log",
    )
    with child, Usage(setup.mark) as usage:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while child.exit_code is None:
            if time.monotonic() > deadline:
                raise RowFailed(f"the bare loop took more than {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.1)
    if child.exit_code != 0:
        raise RowFailed(f"the bare loop failed: {child.last_words(3)}")
    said = json.loads(child.last_words(1))
    stages = said["stages"]
    total = stages.pop("total")
    return [
        Result(
            "limit",
            posts=said["posts"],
            seconds=said["seconds"],
            cpu_seconds=total,
            rss_mb=usage.rss_mb,
            pss_mb=usage.pss_mb,
            stages=stages,
            notes=[
                f"{said['model']} on {said['engine']}, {said['device']}; best of those tried: "
                f"batches of {said['batch']}, {said['threads']} decoding"
            ],
        )
    ]
