"""When to acknowledge Celery messages, and whether to prefetch, under kills and restarts of Valkey.

    python -m benchmarks.acknowledge [--posts 6000] [--runs 2]

Two workers judge text posts from a platform on loopback, in chunks of 8, so that messages are many.
Five times, a second and a half apart, one of them is killed (SIGKILL) and started again; then the
same with orderly restarts of Valkey instead. What is counted: posts without an outcome, messages
that came for a chunk that was finished or held, workers that ended by themselves, and the time
until everything was judged.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from storage.base.database import connect, transaction
from storage.judging import queries
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.harness import environment
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

START = (
    "import sys\n"
    "import celery.bin.worker\n"
    "from worker import app\n"
    "app.conf.task_acks_late = sys.argv[1] == 'late'\n"
    "app.conf.worker_disable_prefetch = sys.argv[3] == 'never'\n"
    "app.worker_main(['--quiet', 'worker', '--without-gossip', '-n', sys.argv[2]])\n"
)
LIMIT_SECONDS = 240


def run(mode: str, prefetch: str, fault: str, posts: int, seed: int) -> dict[str, object]:
    dice = random.Random(seed)  # noqa: S311 - repeatable, no secret
    ids = [f"p{n}" for n in range(posts)]
    with tempfile.TemporaryDirectory() as name, Platform({i: {"text": i} for i in ids}) as platform:
        folder = Path(name)
        with EmbeddedValkey(folder / "valkey") as valkey:
            url = f"sqlite:///{folder / 'deadpan.db'}"
            database = connect(url)
            migrate(database)
            settings = environment(
                redis_url=valkey.url,
                database_url=url,
                source=platform.source,
                evidence_url=folder / "evidence",
                chunk_size=8,
                lease_seconds=3,
            )
            workers = [
                ChildProcess(
                    f"w{n}",
                    [sys.executable, "-c", START, mode, f"w{n}@bench", prefetch],
                    environment=settings,
                    log_path=folder / f"w{n}.log",
                    restart=True,
                )
                for n in range(2)
            ]
            intake = Intake.at(valkey.url)
            try:
                for worker in workers:
                    worker.start()
                    worker.wait_for(
                        lambda: any(w["ready"] for w in intake.status()["workers"]),
                        timeout_seconds=60,
                    )
                time.sleep(5)
                started = time.monotonic()
                intake.enqueue(ids)
                kills = faults = judged = 0
                due = 1.5
                while judged < posts and time.monotonic() - started < LIMIT_SECONDS:
                    time.sleep(0.1)
                    if time.monotonic() - started > due and faults < 5:
                        due += 1.5
                        faults += 1
                        if fault == "kill":
                            os.kill(dice.choice(workers).pid, signal.SIGKILL)
                            kills += 1
                        elif fault == "restart":
                            valkey.stop()
                            valkey.start()
                    with transaction(database, read_only=True) as connection:
                        judged = queries.counts(connection).verdicts
                seconds = time.monotonic() - started
            finally:
                for worker in workers:
                    worker.stop()
            logs = "".join((folder / f"w{n}.log").read_text(encoding="utf-8") for n in range(2))
            database.dispose()
            intake.close()
    return {
        "acknowledge": mode,
        "prefetch": prefetch,
        "fault": fault,
        "faults": faults,
        "posts": posts,
        "judged": judged,
        "doubles": logs.count("message ignored"),
        "ended by themselves": sum(w.restarts for w in workers) - kills,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--posts", type=int, default=6000)
    arguments.add_argument("--runs", type=int, default=2)
    wanted = arguments.parse_args()
    for seed in range(wanted.runs):
        for fault in ("none", "kill", "restart"):
            for mode in ("early", "late"):
                for prefetch in ("one", "never"):
                    print(run(mode, prefetch, fault, wanted.posts, seed), flush=True)


if __name__ == "__main__":
    main()
