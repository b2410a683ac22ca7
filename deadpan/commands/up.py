"""Everything on one machine, until Ctrl-C: Valkey, SQLite, a worker, housekeeping, the console."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from console.links import local_link
from deadpan.errors import ConfigurationError
from deadpan.settings import load
from storage.database import connect
from tasks.intake import Intake
from worker import checks
from worker.embedded import EmbeddedValkey
from worker.local import (
    housekeeping_process,
    migrate_database,
    wait_until_ready,
    worker_process,
)
from worker.processes import ChildProcess, Interrupts


def run_up(*, folder: Path, console_port: int, redis_port: int) -> None:
    """Run everything until Ctrl-C.

    Raises:
        ConfigurationError: with all that is wrong with the settings, before anything starts.
    """
    problems = checks.configuration_problems(load())
    if problems:
        raise ConfigurationError(problems)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "DEADPAN_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "DEADPAN_DATABASE_URL": os.environ.get(
            "DEADPAN_DATABASE_URL", f"sqlite:///{folder / 'deadpan.db'}"
        ),
        "DEADPAN_EVIDENCE_URL": os.environ.get("DEADPAN_EVIDENCE_URL", str(folder / "evidence")),
        "DEADPAN_SECRET_KEY": os.environ.get("DEADPAN_SECRET_KEY", secrets.token_urlsafe(48)),
    }
    settings = load(environment)
    with Interrupts(), ExitStack() as running:
        valkey = running.enter_context(EmbeddedValkey(folder / "valkey", port=redis_port))
        migrate_database(environment["DEADPAN_DATABASE_URL"])
        worker = running.enter_context(worker_process(environment, log_path=folder / "worker.log"))
        running.enter_context(
            housekeeping_process(environment, log_path=folder / "housekeeping.log")
        )
        running.enter_context(
            ChildProcess(
                "console",
                [sys.executable, "-m", "deadpan", "console", "--port", str(console_port)],
                environment=environment,
                log_path=folder / "console.log",
                restart=True,
            )
        )
        intake = Intake.at(valkey.url, settings.prefix)
        running.callback(intake.close)
        wait_until_ready(worker, intake)
        _announce(valkey.url, settings.prefix, folder, console_port, environment)
        while True:
            time.sleep(3600)


def _announce(
    redis_url: str, prefix: str, folder: Path, port: int, environment: Mapping[str, str]
) -> None:
    database = connect(environment["DEADPAN_DATABASE_URL"])
    try:
        link = local_link(database, f"http://127.0.0.1:{port}")
    finally:
        database.dispose()
    sys.stdout.write(
        f"ready. Push post ids:  redis-cli -u {redis_url} RPUSH {prefix}:posts 12345\n"
        f"console:               {link}\n"
        f"logs and data:         {folder}\n"
        "Ctrl-C stops everything; what waits is kept.\n"
    )
    sys.stdout.flush()
