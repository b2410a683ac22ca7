"""Everything on one machine, until Ctrl-C: Valkey, SQLite, a worker, housekeeping, the console."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from console.people.links import local_link
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load
from storage.base.database import connect, transaction
from storage.flags import worklist
from tasks.intake.intake import Intake
from worker import checks
from worker.local import folders
from worker.local.embedded import EmbeddedValkey, require_free_port
from worker.local.processes import Interrupts, Running
from worker.local.services import (
    console_process,
    housekeeping_port,
    housekeeping_process,
    migrate_database,
    wait_until_ready,
    wait_until_served,
    worker_process,
)

_MARKER = "up"


def run_up(*, folder: Path, console_port: int, redis_port: int) -> None:
    """Run everything until Ctrl-C.

    Raises:
        ConfigurationError: with all that is wrong with the settings, before anything starts.
    """
    settings = load()
    problems = checks.configuration_problems(settings)
    if not settings.source:
        problems.append(
            "to look around first, run `deadpan demo`: it brings its own posts and opens the same "
            "console"
        )
    if problems:
        raise ConfigurationError(problems)
    folder = folder.resolve()
    require_ports(console_port, redis_port, settings.metrics_port)
    environment = {
        "DEADPAN_DATABASE_URL": f"sqlite:///{folder / 'deadpan.db'}",
        "DEADPAN_EVIDENCE_URL": str(folder / "evidence"),
        "DEADPAN_SECRET_KEY": secrets.token_urlsafe(48),
        **os.environ,
        "DEADPAN_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
    }
    settings = load(environment)
    with Interrupts(), Running() as running:
        running.enter_context(folders.held(folder, _MARKER))
        valkey = running.enter_context(EmbeddedValkey(folder / "valkey", port=redis_port))
        migrate_database(environment["DEADPAN_DATABASE_URL"])
        worker = running.enter_context(worker_process(environment, log_path=folder / "worker.log"))
        housekeeping = running.enter_context(
            housekeeping_process(environment, log_path=folder / "housekeeping.log")
        )
        console = running.enter_context(
            console_process(environment, port=console_port, log_path=folder / "console.log")
        )
        intake = Intake.at(valkey.url, settings.prefix)
        running.callback(intake.close)
        wait_until_ready(worker, intake)
        wait_until_served(console, console_port)
        if port := housekeeping_port(settings.metrics_port):
            wait_until_served(housekeeping, port, settings.metrics_host)
        _announce(valkey.url, settings.prefix, folder, console_port, environment)
        while True:
            for child in (worker, housekeeping, console):
                child.require()
            time.sleep(1)


def require_ports(console_port: int, redis_port: int, metrics_port: int) -> None:
    """Each process needs a free port of its own.

    Raises:
        ConfigurationError: two would share one, or another process has it.
    """
    wanted = (
        ("the console (--port)", console_port, "--port"),
        ("Valkey (--redis-port)", redis_port, "--redis-port"),
        ("the worker (DEADPAN_METRICS_PORT)", metrics_port, "DEADPAN_METRICS_PORT"),
        (
            "housekeeping (the one after DEADPAN_METRICS_PORT)",
            housekeeping_port(metrics_port),
            "DEADPAN_METRICS_PORT",
        ),
    )
    takers: dict[int, list[str]] = {}
    for taker, port, _ in wanted:
        if port:
            takers.setdefault(port, []).append(taker)
    if problems := [
        f"port {port} is for {' and for '.join(those)}; choose another for one of them"
        for port, those in takers.items()
        if len(those) > 1
    ]:
        raise ConfigurationError(problems)
    for _, port, option in wanted:
        if port:
            require_free_port(port, option)


def _announce(
    redis_url: str, prefix: str, folder: Path, port: int, environment: Mapping[str, str]
) -> None:
    database = connect(environment["DEADPAN_DATABASE_URL"])
    try:
        link = local_link(database, f"http://127.0.0.1:{port}")
        with transaction(database, read_only=True) as connection:
            waiting = sum(sum(states.values()) for states in worklist.waiting(connection).values())
    finally:
        database.dispose()
    queue = "its queue is empty: push ids as above, and flagged posts appear by themselves"
    if waiting:
        queue = f"{waiting} flag{'s' if waiting != 1 else ''} in its queue"
    sys.stdout.write(
        f"ready. Push post ids:  redis-cli -u {redis_url} RPUSH {prefix}:posts 12345\n"
        f"console:               {link}\n"
        f"                       {queue}; the link works once\n"
        f"logs and data:         {folder}\n"
        "Ctrl-C stops everything; data and waiting ids are kept.\n"
    )
    sys.stdout.flush()
