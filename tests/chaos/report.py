"""A run's result as JSON and as a page to read."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from tests.chaos.run import Result

SHOWN_PROBLEMS = 20


def write(result: Result, folder: Path) -> Path:
    """Writes report.json and report.md; gives the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(asdict(result), indent=2) + "\n")
    page = folder / "report.md"
    page.write_text(markdown(result))
    return page


def markdown(result: Result) -> str:
    """The page: what was pushed, what went wrong, what became of it."""
    plan = result.plan
    recoveries = [i.recovery_seconds for i in result.injected if i.recovery_seconds is not None]
    rows: list[tuple[str, object]] = [
        ("posts that Redis accepted", result.accepted),
        ("ids sent, with those sent again while Redis was away", result.pushes),
        ("ids asked of the source", result.asked),
        ("faults injected", len(result.injected)),
        *result.outcomes.items(),
        *((name, len(found)) for name, found in result.problems.items()),
        ("workers that ended by themselves", result.ended_by_themselves),
        ("longest recovery (s)", f"{max(recoveries, default=0.0):.1f}"),
        (
            "longest time without an outcome, outages included (s)",
            f"{result.standstill_seconds:.1f}",
        ),
        ("last outcome after the last fault (s)", f"{result.drained_seconds:.1f}"),
    ]
    lines = [
        "# Chaos",
        "",
        f"Seed {plan.seed}: {plan.posts} posts over {plan.seconds:.0f} seconds, {plan.workers} "
        f"workers, leases of {plan.lease_seconds:g} seconds.",
        "",
        "| what | number |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "| fault | times | longest recovery (s) |",
        "|---|---|---|",
        *_by_kind(result),
        "",
        "Recovery: until the next outcome was committed, from the moment at which the servers and "
        "the source were well again; for a killed worker, from the kill.",
    ]
    for name, found in result.problems.items():
        lines += ["", f"## {name}", "", *(f"- {line}" for line in found[:SHOWN_PROBLEMS])] * bool(
            found
        )
    return "\n".join(lines) + "\n"


def _by_kind(result: Result) -> list[str]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for injected in result.injected:
        kinds[injected.fault.kind].append(injected.recovery_seconds or 0.0)
    return [f"| {kind} | {len(kinds[kind])} | {max(kinds[kind]):.1f} |" for kind in sorted(kinds)]
