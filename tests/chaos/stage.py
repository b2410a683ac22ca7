"""The real things that faults are injected into, each under its own lock."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image
from sqlalchemy import Engine

from storage.base.database import connect
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.chaos.plan import PICTURES, Fault, Plan
from tests.harness import environment
from tests.platform import Answer, Platform
from tests.postgres import Postgres
from tests.receiver import SECRET, Receiver
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

POLICY = """
[[rules]]
name = "unhappy-words"
when = "text_alone.sentiment.negative >= 0.5"
queue = "negative"
priority = 1
"""
FETCH_TIMEOUT_SECONDS = 3.0
# What `deadpan worker` runs; the names are needed because all run on one machine.
COMMAND = (sys.executable, "-m", "celery", "-A", "worker", "worker")


class Stage:
    """Valkey, PostgreSQL, a platform, supervised workers and housekeeping; see `set_up`.

    Attributes:
        killed: SIGKILLs that hit a living worker.
    """

    def __init__(self, plan: Plan, folder: Path, postgres: Postgres, stack: ExitStack) -> None:
        self.plan = plan
        self.folder = folder
        self.postgres = postgres
        self.killed = 0
        self._chance = random.Random(plan.seed + 2)
        self._locks = {name: threading.Lock() for name in ("valkey", "postgresql", "source")}
        self._mood = "well"
        self.valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        self.database_url = postgres.create_database()
        self.database: Engine = connect(self.database_url)
        stack.callback(self.database.dispose)
        migrate(self.database)
        self.intake = Intake.at(self.valkey.url)
        stack.callback(self.intake.close)
        posts = {i: post for i, post in plan.platform_posts().items() if post is not None}
        pictures = {f"{n}.jpg": _picture(n) for n in range(PICTURES)}
        self.platform = stack.enter_context(Platform(posts, pictures, meddle=self._answer))
        self.evidence = folder / "evidence"
        (folder / "policy.toml").write_text(POLICY)
        self.receiver = stack.enter_context(Receiver())
        self.housekeeping = stack.enter_context(self._housekeeping())
        self.workers = [stack.enter_context(self._worker(n)) for n in range(plan.workers)]

    def inject(self, fault: Fault) -> float:
        """Let a fault happen; returns when it is over, with the moment (monotonic seconds)."""
        if fault.kind == "worker killed":
            self.killed += self._kill(self._chance.choice(self.workers))
        elif fault.kind == "housekeeping killed":
            self._kill(self.housekeeping)
        else:
            name = fault.kind.split()[0]
            with self._locks[name]:
                getattr(self, f"_{name}")(fault)
        return time.monotonic()

    def ended_by_themselves(self) -> int:
        """How often a worker ended without having been killed."""
        return sum(child.restarts for child in self.workers) - self.killed

    def _worker(self, number: int) -> ChildProcess:
        name = f"worker-{number}"
        return ChildProcess(
            name,
            [*COMMAND, "-n", f"{name}@chaos"],
            environment=environment(
                redis_url=self.valkey.url,
                database_url=self.database_url,
                source=self.platform.source,
                evidence_url=self.evidence,
                policy=self.folder / "policy.toml",
                engine="torch",
                explain="off",
                log_format="json",
                allow_private_addresses="127.0.0.0/8",
                lease_seconds=self.plan.lease_seconds,
                fetch_timeout_seconds=FETCH_TIMEOUT_SECONDS,
                # More tries than an outage can use up: no post may end as a dead letter by it.
                max_attempts=14,
                retry_base_seconds=0.5,
                **self._callbacks(),
            ),
            log_path=self.folder / f"{name}.log",
            restart=True,
        )

    def _housekeeping(self) -> ChildProcess:
        return ChildProcess(
            "housekeeping",
            [sys.executable, "-m", "deadpan", "housekeeping"],
            environment=environment(
                database_url=self.database_url,
                log_format="json",
                allow_private_addresses="127.0.0.0/8",
                callback_retry_base_seconds=0.5,
                **self._callbacks(),
            ),
            log_path=self.folder / "housekeeping.log",
            restart=True,
        )

    def _callbacks(self) -> dict[str, object]:
        return {"callback_url": self.receiver.url, "callback_secret": SECRET}

    @staticmethod
    def _kill(child: ChildProcess) -> bool:
        """Whether there was a living process to kill."""
        # One that is just being started again has none: wait for it.
        while child.exit_code is not None:
            time.sleep(0.1)
        try:
            os.kill(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _valkey(self, fault: Fault) -> None:
        if fault.kind == "valkey killed":
            os.kill(self.valkey.process.pid, signal.SIGKILL)
        self.valkey.stop()
        time.sleep(fault.for_seconds)
        self.valkey.start()

    def _postgresql(self, fault: Fault) -> None:
        if fault.kind == "postgresql killed":
            self.postgres.kill()
        else:
            self.postgres.stop()
        time.sleep(fault.for_seconds)
        self.postgres.start()

    def _source(self, fault: Fault) -> None:
        self._mood = fault.kind
        time.sleep(fault.for_seconds)
        self._mood = "well"

    def _answer(self, ids: list[str]) -> Answer | None:
        mood = self._mood
        if mood == "source answers 500":
            return 500, {}, b"<html>out of order</html>"
        if mood == "source hangs":
            time.sleep(FETCH_TIMEOUT_SECONDS + 1.0)
        else:
            time.sleep(random.uniform(0, self.plan.source_delay_seconds))
        return None


@contextmanager
def set_up(plan: Plan, folder: Path) -> Iterator[Stage]:
    """Everything started, workers included; all of it is stopped at the end."""
    postgres = Postgres(durable=True)
    try:
        postgres.start()
        with ExitStack() as stack:
            yield Stage(plan, folder, postgres, stack)
    finally:
        postgres.close()


def _picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (number * 12, 80, 160)).save(buffer, "JPEG")
    return buffer.getvalue()
