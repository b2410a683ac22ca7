"""The table and the plot of docs/autoscaling-measured.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.autoscaling.fleet import Machine, Result
from benchmarks.autoscaling.policies import Policy
from benchmarks.autoscaling.shapes import Shape

COST_GOAL = 1.25
COLOURS = {"oracle": "#2f855a", "deadpan": "#2b6cb0", "keda": "#dd6b20"}


@dataclass(frozen=True, slots=True)
class Row:
    """One shape under one policy; latencies in seconds."""

    shape: str
    policy: str
    p50: float
    p95: float
    p99: float
    low_p95: float | None
    worker_hours: float
    against_oracle: float
    against_least: float
    scalings: int
    left: int


def block(rows: Sequence[Row], machine: Machine, goal: float, low_goal: float, seed: int) -> str:
    """What stands between the markers."""
    lines = [
        "",
        f"- goal: p95 of queue latency {goal:g} s for high and normal, {low_goal / 3600:g} h for "
        f"low; at most {COST_GOAL:g} times the worker-hours of the oracle",
        f"- a worker does {machine.pace:g} posts a second and is ready {machine.start_seconds:g} s "
        f"after its start; at most {machine.ceiling}; seed {seed}",
    ]
    for shape in dict.fromkeys(row.shape for row in rows):
        lines += [
            "",
            f"**{shape}**",
            "",
            "| policy | p50 s | p95 s | p99 s | worker-hours | × oracle | × bound | scalings "
            "| goals |",
            "|---|--:|--:|--:|--:|--:|--:|--:|---|",
        ]
        lines += [_line(row, goal, low_goal) for row in rows if row.shape == shape]
    lines += ["", "![Workers and the age of the oldest post over time](images/autoscaling.svg)", ""]
    return "\n".join(lines)


def _line(row: Row, goal: float, low_goal: float) -> str:
    missed = []
    if row.p95 > goal:
        missed.append("latency")
    if row.low_p95 is not None and row.low_p95 > low_goal:
        missed.append("latency of low")
    if row.against_oracle > COST_GOAL:
        missed.append("cost")
    if row.left:
        missed.append(f"{row.left:,} posts still wait")
    told = "met" if not missed else "missed: " + ", ".join(missed)
    if row.low_p95 is not None:
        told += f" (p95 of low {row.low_p95 / 3600:.1f} h)"
    return (
        f"| {row.policy} | {row.p50:.0f} | {row.p95:.0f} | {row.p99:.0f} | {row.worker_hours:.1f} "
        f"| {row.against_oracle:.2f} | {row.against_least:.2f} | {row.scalings} | {told} |"
    )


def plot(tracks: Sequence[tuple[Shape, list[tuple[Policy, Result]]]], goal: float) -> str:
    """An SVG: for each shape workers over time, and below them the age of the oldest post."""
    left, width, high, low_high, gap = 60, 620, 110, 60, 58
    parts: list[str] = []
    y = 44.0

    def text(x: float, y: float, said: str, anchor: str = "start", size: int = 11) -> None:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
            f"{escape(said)}</text>"
        )

    legend = [
        ("oracle", "oracle"),
        ("deadpan", "Deadpan, `deadpan autoscale`"),
        ("keda", "KEDA, list length, target tuned"),
    ]
    for place, (key, said) in enumerate(legend):
        x = left + place * 210
        parts.append(f'<rect x="{x}" y="10" width="14" height="4" fill="{COLOURS[key]}"/>')
        text(x + 20, 16, said.replace("`", ""))
    for shape, played in tracks:
        shown = {
            "keda": [r for p, r in played if p.name.startswith("KEDA")][-1],
            "oracle": next(r for p, r in played if p.name == "oracle"),
            "deadpan": next(r for p, r in played if "deadpan autoscale" in p.name),
        }
        most = max(workers for r in shown.values() for _, workers, _, _ in r.track) or 1
        text(left, y - 6, f"{shape.name} ({shape.seconds / 3600:g} h)", size=12)
        text(left - 6, y + 10, f"{most}", "end")
        text(left - 6, y + high, "0 workers", "end")
        parts.append(_frame(left, y, width, high))
        for key, result in shown.items():
            points = [(second, workers) for second, workers, _, _ in result.track]
            parts.append(_steps(points, shape.seconds, most, left, y, width, high, COLOURS[key]))
        y += high + 8
        cap = 4 * goal
        text(left - 6, y + 10, f"{cap:g} s", "end")
        text(left - 6, y + low_high, "age 0", "end")
        parts.append(_frame(left, y, width, low_high))
        at = y + low_high * (1 - goal / cap)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" '
            'stroke="#c53030" stroke-dasharray="4 3"/>'
        )
        for key, result in shown.items():
            ages = [(second, min(cap, age)) for second, _, _, age in result.track]
            parts.append(_steps(ages, shape.seconds, cap, left, y, width, low_high, COLOURS[key]))
        y += low_high + gap
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {y:.0f}" '
        'font-family="sans-serif" role="img" '
        'aria-label="Workers and age of the oldest post over time">\n'
        f'<rect width="700" height="{y:.0f}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _frame(x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect x="{x}" y="{y:.1f}" width="{width}" height="{height}" fill="none" '
        'stroke="#cbd5e0"/>'
    )


def _steps(
    points: Sequence[tuple[int, float]],
    seconds: int,
    most: float,
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
) -> str:
    path: list[str] = []
    for place, (second, value) in enumerate(points):
        if 0 < place < len(points) - 1 and points[place - 1][1] == value:
            continue
        across, up = x + width * second / seconds, y + height * (1 - value / most)
        path.append(
            f"{'H' if path else 'M'}{across:.1f}" + (f"V{up:.1f}" if path else f" {up:.1f}")
        )
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.4"/>'
