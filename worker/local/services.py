"""What `deadpan up` and `deadpan demo` share: supervised processes and a migrated database."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from storage.base.database import connect
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from worker.local.processes import ChildProcess

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
    after = housekeeping_port(int(environment.get("DEADPAN_METRICS_PORT", "0")))
    return ChildProcess(
        "housekeeping",
        [sys.executable, "-m", "deadpan", "housekeeping"],
        environment={**environment, "DEADPAN_METRICS_PORT": str(after)},
        log_path=log_path,
        restart=True,
    )


def housekeeping_port(metrics_port: int) -> int:
    """Where housekeeping listens beside a worker that has this port; 0 is nowhere."""
    return metrics_port + 1 if 0 < metrics_port < 65535 else 0


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
    """Wait until this very worker says on Redis that it is ready; another may have been there.

    Raises:
        DeadpanError: the worker ended for good or took too long; with the end of its log.
    """
    worker.wait_for(
        lambda: any(
            said["ready"] and said["name"].startswith(f"worker-{worker.pid}@")
            for said in intake.status()["workers"]
        ),
        timeout_seconds=READY_WITHIN_SECONDS,
    )


def wait_until_served(child: ChildProcess, port: int, host: str = "127.0.0.1") -> None:
    """Wait until this very child answers on its port; another server may have been quicker.

    Raises:
        DeadpanError: it ended for good or took too long; with the end of its log.
    """
    child.wait_for(
        lambda: _who_answers(host, port) == (child.name, child.pid),
        timeout_seconds=READY_WITHIN_SECONDS,
    )


def _who_answers(host: str, port: int) -> tuple[str, int] | None:
    """Name and process id of whoever answers there, if it is one of us."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        told = json.loads(connection.getresponse().read(1024))
        return str(told["process"]), int(told["pid"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
