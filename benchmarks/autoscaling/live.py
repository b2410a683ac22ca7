"""A spike of 20 times the steady rate on this machine, with real workers and `deadpan autoscale`.

`python -m benchmarks.autoscaling.live` writes its figures and a plot into
docs/autoscaling-measured.md. The platform answers slowly, so a worker is bound by it and two do
twice as much on the same cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.report import machine
from storage.base.database import connect, transaction
from storage.judging import queries
from storage.tables import verdicts
from tasks.intake.arrivals import read_signal
from tasks.intake.intake import Intake
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess, Interrupts
from worker.local.services import migrate_database

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- live begins -->", "<!-- live ends -->"
TIMES = 20
READY_SECONDS, DRAIN_SECONDS = 240.0, 600.0


@dataclass(slots=True)
class Track:
    """What was seen, about once a second; times in seconds since the first push.

    Attributes:
        rows: (time, posts waiting, age of the oldest in seconds, workers that are ready).
    """

    rows: list[tuple[float, int, float, int]] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    spike: tuple[float, float] = (0.0, 0.0)


def run(given: argparse.Namespace, folder: Path) -> tuple[Track, int, int]:
    """One run.

    Returns:
        What was seen, how many posts have an outcome, and how many verdicts there are.
    """
    before, during, after = given.seconds
    count = int(given.rate * (before + after + TIMES * during)) + 1
    posts = {f"p{n}": {"text": f"what a wonderful day it is, number {n}"} for n in range(count)}
    database_url = f"sqlite:///{folder / 'deadpan.db'}"
    migrate_database(database_url)
    with (
        Platform(posts, delay_seconds=given.delay) as platform,
        EmbeddedValkey(folder / "valkey") as valkey,
    ):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")},
            "DEADPAN_REDIS_URL": valkey.url,
            "DEADPAN_DATABASE_URL": database_url,
            "DEADPAN_EVIDENCE_URL": str(folder / "evidence"),
            "DEADPAN_SOURCE": platform.source,
            "DEADPAN_DEVICE": "cpu",
            "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
            "DEADPAN_CHUNK_SIZE": str(given.chunk),
            "DEADPAN_WORKERS_MAX": str(given.workers),
            "DEADPAN_LATENCY_GOAL_SECONDS": str(given.latency),
            "DEADPAN_WORKER_POSTS_PER_SECOND": str(given.pace),
            "DEADPAN_WORKER_START_SECONDS": str(given.start),
        }
        autoscaler = ChildProcess(
            "autoscaler",
            [sys.executable, "-m", "deadpan", "autoscale", "--folder", str(folder)],
            environment=environment,
            log_path=folder / "autoscaler.log",
            grace_seconds=90.0,
        )
        intake = Intake.at(valkey.url)
        database = connect(database_url)
        try:
            with autoscaler:
                autoscaler.wait_for(
                    lambda: any(w["ready"] for w in intake.status()["workers"]),
                    timeout_seconds=READY_SECONDS,
                )
                track = _load(intake, given)
            with transaction(database, read_only=True) as connection:
                done = len(queries.outcome_of(connection, track.pushed))
                judged = connection.execute(select(func.count()).select_from(verdicts))
                return track, done, int(judged.scalar_one())
        finally:
            database.dispose()
            intake.close()


def _load(intake: Intake, given: argparse.Namespace) -> Track:
    before, during, after = given.seconds
    track = Track(spike=(before, before + during))
    began = time.monotonic()
    over = threading.Event()

    def push() -> None:
        due = 0.0
        while (now := time.monotonic() - began) < before + during + after:
            factor = TIMES if before <= now < before + during else 1
            due += given.rate * factor * 0.1
            ids = [f"p{len(track.pushed) + n}" for n in range(int(due))]
            if ids:
                intake.client.rpush("deadpan:posts", *ids)
                track.pushed += ids
                due -= len(ids)
            time.sleep(0.1)
        over.set()

    pusher = threading.Thread(target=push, daemon=True)
    pusher.start()
    while True:
        now = time.monotonic() - began
        workers = intake.status()["workers"]
        ready = sum(bool(worker["ready"]) for worker in workers)
        signal = read_signal(intake, ready=ready)
        waiting = sum(each.posts for each in signal.waiting.values())
        track.rows.append((now, waiting, signal.oldest_age_seconds, ready))
        calm = over.is_set() and not signal.unfinished and ready <= 1
        if calm or now > before + during + after + DRAIN_SECONDS:
            return track
        time.sleep(1.0)


def block(track: Track, done: int, judged: int, given: argparse.Namespace) -> str:
    """What stands between the markers."""
    start, end = track.spike
    late = [at for at, _, age, _ in track.rows if age > given.latency]
    most = max(ready for *_, ready in track.rows)
    ups = [at for at, *_, ready in track.rows if ready == most]
    within = (
        "the oldest post was never older than the goal"
        if not late
        else f"the oldest post was older than the goal for {len(late)} of {len(track.rows)} looks, "
        f"the last one {max(late) - start:.0f} s after the spike began"
    )
    alone = max((at for at, *_, ready in track.rows if ready > 1), default=0.0)
    return "\n".join(
        [
            "",
            f"- {machine()}; load average {os.getloadavg()[1]:.0f} from other work meanwhile",
            f"- {given.rate:g} posts a second, {given.rate * TIMES:g} for {end - start:.0f} s; the "
            f"platform takes {given.delay:g} s an answer; chunks of {given.chunk}; at most "
            f"{given.workers} workers; goal {given.latency:g} s",
            f"- pushed {len(track.pushed):,}, with an outcome {done:,}, verdicts {judged:,}",
            f"- up to {most} workers were ready, from {min(ups) - start:.0f} s after the spike "
            f"began; one was left {alone - end:.0f} s after its end",
            f"- {within}; at most {max(age for _, _, age, _ in track.rows):.0f} s",
            "",
            "![Posts waiting, age of the oldest and ready workers over time]"
            "(images/autoscaling-live.svg)",
            "",
        ]
    )


def plot(track: Track, goal: float) -> str:
    """An SVG of depth, age and workers over time."""
    left, width, high, y = 60, 620, 90, 20.0
    seconds = track.rows[-1][0] or 1.0
    parts: list[str] = []

    def panel(name: str, values: Sequence[float], line: float | None = None) -> None:
        nonlocal y
        most = max([*values, line or 0.0, 1.0])
        parts.append(f'<text x="{left}" y="{y - 5:.0f}" font-size="12">{escape(name)}</text>')
        for said, at in ((f"{most:.0f}", y + 10), ("0", y + high)):
            parts.append(
                f'<text x="{left - 6}" y="{at:.0f}" font-size="11" text-anchor="end">{said}</text>'
            )
        start, end = (left + width * at / seconds for at in track.spike)
        parts.append(
            f'<rect x="{start:.1f}" y="{y:.0f}" width="{end - start:.1f}" height="{high}" '
            'fill="#fef3c7"/>'
        )
        parts.append(
            f'<rect x="{left}" y="{y:.0f}" width="{width}" height="{high}" fill="none" '
            'stroke="#cbd5e0"/>'
        )
        if line is not None:
            at = y + high * (1 - line / most)
            parts.append(
                f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" '
                'stroke="#c53030" stroke-dasharray="4 3"/>'
            )
        points = " ".join(
            f"{left + width * row[0] / seconds:.1f},{y + high * (1 - value / most):.1f}"
            for row, value in zip(track.rows, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="#2b6cb0"/>')
        y += high + 30

    panel("posts waiting (the spike is shaded)", [float(row[1]) for row in track.rows])
    panel("age of the oldest in seconds (dashed: the goal)", [row[2] for row in track.rows], goal)
    panel(f"workers that are ready ({seconds:.0f} s)", [float(row[3]) for row in track.rows])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {y:.0f}" '
        'font-family="sans-serif" role="img" aria-label="Posts waiting, age, workers">\n'
        f'<rect width="700" height="{y:.0f}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    """Run once and write what was seen."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rate", type=float, default=4.0, help="steady posts a second")
    arguments.add_argument("--seconds", type=float, nargs=3, default=[60.0, 60.0, 60.0])
    arguments.add_argument("--delay", type=float, default=0.5, help="of the platform, in seconds")
    arguments.add_argument("--chunk", type=int, default=8)
    arguments.add_argument("--workers", type=int, default=3)
    arguments.add_argument("--latency", type=float, default=30.0)
    arguments.add_argument("--pace", type=float, default=30.0, help="posts/s of a worker")
    arguments.add_argument("--start", type=float, default=12.1)
    arguments.add_argument("--print-only", action="store_true", help="leave the documents alone")
    given = arguments.parse_args()
    with Interrupts(), tempfile.TemporaryDirectory(prefix="autoscaling-") as name:
        track, done, judged = run(given, Path(name))
    text = block(track, done, judged, given)
    print(text)
    if not given.print_only:
        page = DOCS / "autoscaling-measured.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
        (DOCS / "images" / "autoscaling-live.svg").write_text(
            plot(track, given.latency), encoding="utf-8"
        )
    if done != len(track.pushed):
        sys.exit(f"error: {len(track.pushed) - done} posts have no outcome")


if __name__ == "__main__":
    main()
