"""Starts workers as a user would, and asks the database what became of posts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging import queries
from worker.local.processes import ChildProcess

PATIENCE_SECONDS = 200.0
"""No test waits longer for anything; a test that gets here has failed."""


def environment(**settings: object) -> dict[str, str]:
    """An environment for a child: this one's, with these DEADPAN_* settings and no others."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")}
    return kept | {f"DEADPAN_{name.upper()}": str(value) for name, value in settings.items()}


def worker(folder: Path, name: str = "worker", **settings: object) -> ChildProcess:
    """A worker, not yet started; not restarted, so that a test sees it die."""
    _convert_model()
    return ChildProcess(
        name,
        [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", f"{name}@test"],
        environment=environment(log_format="json", **settings),
        log_path=folder / f"{name}.log",
    )


@cache
def _convert_model() -> None:
    """What the first start on a machine does, while no test waits: it converts and measures the
    model, which took more than two minutes on 2 cores with 30 processes at work."""
    command = [sys.executable, "-m", "deadpan", "classify", "--text", "the first"]
    subprocess.run(command, env=environment(), check=True, capture_output=True)


def wait_until(condition: Callable[[], bool], what: str, *children: ChildProcess) -> None:
    """Wait for a condition; fails with the children's last words."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen\n" + "\n".join(
            child.last_words(40) for child in children
        )
        time.sleep(0.02)


def outcomes(database: Engine, post_ids: Iterable[str]) -> Mapping[str, str]:
    """What became of posts, of those that have an outcome."""
    with transaction(database, read_only=True) as connection:
        return queries.outcome_of(connection, list(post_ids))
