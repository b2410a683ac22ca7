"""Replays loads against policies and writes docs/autoscaling-measured.md's table and plot."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

from benchmarks.autoscaling.fleet import Machine, Result, percentile, simulate
from benchmarks.autoscaling.oracle import least, plan
from benchmarks.autoscaling.policies import (
    Policy,
    cpu,
    deadpan,
    deadpan_by_keda,
    fixed,
    keda_list_length,
    planned,
)
from benchmarks.autoscaling.report import Row, block, plot
from benchmarks.autoscaling.shapes import Shape, shapes
from benchmarks.report import between_markers
from worker.fleet.scaling import Goals

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "autoscaling-measured.md"
PICTURE = DOCS / "images" / "autoscaling.svg"


def policies(shape: Shape, machine: Machine, goals: Goals) -> list[Policy]:
    """All policies for a shape; fixed fleets fit its mean and its busiest minute."""
    minutes = [sum(shape.live[at : at + 60]) / 60 for at in range(0, shape.seconds - 59, 60)]
    mean = (sum(shape.live) + sum(shape.low)) / shape.seconds
    fits = int(machine.pace * goals.latency_seconds)
    return [
        planned(plan(shape, machine, goals)),
        deadpan(goals),
        deadpan_by_keda(goals),
        keda_list_length(5, shape.floor),
        keda_list_length(fits, shape.floor),
        cpu(0.7, shape.floor),
        fixed("mean", max(1, math.ceil(mean / machine.pace))),
        fixed("peak", min(machine.ceiling, max(1, math.ceil(max(minutes) / machine.pace)))),
    ]


def replay(shape: Shape, machine: Machine, goals: Goals) -> list[tuple[Policy, Result]]:
    """One shape under all policies."""
    enough = max(shape.floor, math.ceil(sum(shape.live[:60]) / 60 / machine.pace * 1.03))
    done = []
    for policy in policies(shape, machine, goals):
        result = simulate(
            shape,
            machine,
            policy.make(),
            every_seconds=policy.every_seconds,
            begin_with=policy.fixed if policy.fixed is not None else enough,
            track_every=max(1, shape.seconds // 240),
        )
        done.append((policy, result))
    return done


def goals_for(shape: Shape, machine: Machine, latency: float, low: float) -> Goals:
    """What the operator of a simulated fleet wants."""
    return Goals(
        latency_seconds=latency,
        low_latency_seconds=low,
        floor=shape.floor,
        ceiling=machine.ceiling,
        worker_posts_per_second=machine.pace,
        start_seconds=machine.start_seconds,
    )


def main() -> None:
    """Print the table and write it and the plot into the documents."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--latency", type=float, default=30.0, help="goal in seconds")
    arguments.add_argument("--low-latency", type=float, default=6 * 3600.0)
    arguments.add_argument("--pace", type=float, default=Machine().pace, help="posts/s of a worker")
    arguments.add_argument("--start", type=float, default=Machine().start_seconds)
    arguments.add_argument("--ceiling", type=int, default=Machine().ceiling)
    arguments.add_argument("--print-only", action="store_true", help="leave the documents alone")
    given = arguments.parse_args()
    machine = Machine(given.pace, given.start, given.ceiling)
    began = time.monotonic()
    rows: list[Row] = []
    tracks: list[tuple[Shape, list[tuple[Policy, Result]]]] = []
    for shape in shapes(given.seed):
        goals = goals_for(shape, machine, given.latency, given.low_latency)
        played = replay(shape, machine, goals)
        oracle = played[0][1].worker_seconds
        for policy, result in played:
            rows.append(
                Row(
                    shape=shape.name,
                    policy=policy.name,
                    p50=percentile(result.latency, 0.5),
                    p95=percentile(result.latency, 0.95),
                    p99=percentile(result.latency, 0.99),
                    low_p95=percentile(result.low_latency, 0.95) if shape.low else None,
                    worker_hours=result.worker_seconds / 3600,
                    against_oracle=result.worker_seconds / oracle,
                    against_least=result.worker_seconds / least(shape, machine),
                    scalings=result.scalings,
                    left=result.left,
                )
            )
        tracks.append((shape, played))
        sys.stderr.write(f"{shape.name}: {time.monotonic() - began:.1f} s\n")
    text = block(rows, machine, given.latency, given.low_latency, given.seed)
    print(text)
    if not given.print_only:
        PAGE.write_text(between_markers(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
        PICTURE.write_text(plot(tracks, given.latency), encoding="utf-8")


if __name__ == "__main__":
    main()
