"""What `deadpan up` and `deadpan demo` share: supervised processes and a migrated database."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from pathlib import Path

from storage.database import connect
from storage.schema import migrate
from tasks.intake import Intake
from worker.processes import ChildProcess

READY_WITHIN_SECONDS = 300.0
"""The first start converts and measures the model: about two minutes on a machine that has ten
times its cores at work. A process that ends instead is noticed at once."""


def worker_process(environment: Mapping[str, str], *, log_path: Path) -> ChildProcess:
    """A worker that is started again when it ends by itself."""
    return ChildProcess(
        "worker",
        [sys.executable, "-m", "deadpan", "worker"],
        environment=environment,
        log_path=log_path,
        restart=True,
    )


def housekeeping_process(environment: Mapping[str, str], *, log_path: Path) -> ChildProcess:
    """Housekeeping that is started again when it ends by itself.

    The worker beside it listens on DEADPAN_METRICS_PORT, so this one takes the port after it.
    """
    port = int(environment.get("DEADPAN_METRICS_PORT", "0"))
    after = port + 1 if 0 < port < 65535 else 0
    return ChildProcess(
        "housekeeping",
        [sys.executable, "-m", "deadpan", "housekeeping"],
        environment={**environment, "DEADPAN_METRICS_PORT": str(after)},
        log_path=log_path,
        restart=True,
    )


def console_process(environment: Mapping[str, str], *, port: int, log_path: Path) -> ChildProcess:
    """A console on loopback that is started again when it ends by itself."""
    return ChildProcess(
        "console",
        [sys.executable, "-m", "deadpan", "console", "--port", str(port)],
        environment=environment,
        log_path=log_path,
        restart=True,
    )


def migrate_database(url: str) -> None:
    """Bring a database to the schema of this version."""
    database = connect(url)
    try:
        migrate(database)
    finally:
        database.dispose()


def wait_until_ready(worker: ChildProcess, intake: Intake) -> None:
    """Wait until a worker says on Redis that it is ready.

    Raises:
        DeadpanError: the worker ended for good or took too long; with the end of its log.
    """
    worker.wait_for(
        lambda: any(said["ready"] for said in intake.status()["workers"]),
        timeout_seconds=READY_WITHIN_SECONDS,
    )


def wait_until_served(console: ChildProcess, port: int) -> None:
    """Wait until a console on loopback answers.

    Raises:
        DeadpanError: the console ended for good or took too long; with the end of its log.
    """
    console.wait_for(lambda: _is_alive(port), timeout_seconds=READY_WITHIN_SECONDS)


def _is_alive(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
