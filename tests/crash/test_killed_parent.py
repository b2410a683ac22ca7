"""`deadpan up`, `demo` and `autoscale` that end without ending what they started: killed, or with
their terminal. Their children end all the same, in order, and what was in hand is not lost."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine

from storage.base.database import connect
from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey, free_port

pytestmark = pytest.mark.long

RUNS_IN_A_TERMINAL = 'exec "$@" <"$0" >"$0" 2>&1'
"""A shell that leads a session gets the terminal that it opens, and passes it on."""


def about(folder: Path) -> list[str]:
    """Processes that have to do with a folder, or began in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        told = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
        if process.pid != os.getpid() and any(str(folder) in part for part in told):
            found.append(f"{process.pid} {process.info['cmdline']}")
    return found


def started(folder: Path, *names: str) -> Callable[[], bool]:
    return lambda: all((folder / name).exists() for name in names)


def test_a_killed_up_leaves_no_process_behind_and_loses_nothing(tmp_path: Path) -> None:
    folder, port, redis_port = tmp_path / "up", free_port(), free_port()
    metrics_port = free_port()
    posts = {str(n): {"text": f"post {n}"} for n in range(3)}
    with Platform(posts, delay_seconds=60) as platform:
        child = subprocess.Popen(
            [
                *[sys.executable, "-m", "deadpan", "up", "--folder", str(folder)],
                *["--port", str(port), "--redis-port", str(redis_port)],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(
                source=platform.source,
                allow_private_addresses="127.0.0.0/8",
                metrics_port=metrics_port,
                fetch_timeout_seconds=90,
            ),
            start_new_session=True,
        )
        assert child.stdout
        with child.stdout:
            assert child.stdout.readline().startswith("ready.")
        # Each port belongs to the process that it should.
        told = {
            name: httpx.get(f"http://127.0.0.1:{at}/healthz").json()
            for name, at in {
                "console": port,
                "worker": metrics_port,
                "housekeeping": metrics_port + 1,
            }.items()
        }
        assert {name: said["process"] for name, said in told.items()} == {n: n for n in told}
        assert len({said["pid"] for said in told.values()}) == 3
        for said in told.values():
            assert psutil.Process(said["pid"]).ppid() == child.pid

        intake = Intake.at(f"redis://127.0.0.1:{redis_port}/0")
        intake.enqueue(list(posts)[:1])
        wait_until(lambda: platform.asked.total() > 0, "a chunk in hand")
        intake.enqueue(list(posts)[1:])
        intake.close()
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
        wait_until(lambda: about(folder) == [], "the end of its children")
    said = (folder / "valkey" / "valkey.log").read_text()
    assert "bye bye" in said, "Valkey ended in order"
    with EmbeddedValkey(folder / "valkey") as valkey:
        intake = Intake.at(valkey.url)
        waiting = intake.status()
        chunks = sum(intake.client.llen(key) for key in intake.client.keys("deadpan:chunk:*"))
        assert chunks + sum(waiting["intake"].values()) + waiting["retries"] == len(posts)
        intake.close()
    engine = connect(f"sqlite:///{folder / 'deadpan.db'}")
    assert outcomes(engine, posts) == {}
    engine.dispose()


@pytest.mark.parametrize(
    "seen", [(), ("valkey/valkey.log",), ("deadpan.db",), ("worker.log", "console.log")]
)
@pytest.mark.parametrize("how", ["killed", "its terminal is closed"])
def test_a_demo_that_ends_with_its_terminal_or_is_killed_leaves_no_process_behind(
    tmp_path: Path, seen: tuple[str, ...], how: str
) -> None:
    folder = tmp_path / "demo"
    terminal, far_end = pty.openpty()
    child = subprocess.Popen(
        [
            *["/bin/sh", "-c", RUNS_IN_A_TERMINAL, os.ttyname(far_end)],
            *[sys.executable, "-m", "deadpan", "demo", "--stay", "--folder", str(folder)],
        ],
        env=environment(),
        start_new_session=True,
    )
    try:
        wait_until(lambda: started(folder, *seen)() or child.poll() is not None, "its start")
        assert child.poll() is None
        if how == "killed":
            child.send_signal(signal.SIGKILL)
    finally:
        os.close(far_end)
        os.close(terminal)
    child.wait(timeout=60)
    wait_until(lambda: about(folder) == [], "the end of its children")


def test_workers_of_a_killed_autoscaler_end(
    tmp_path: Path, intake: Intake, valkey_server: EmbeddedValkey, sqlite: Engine
) -> None:
    folder = tmp_path / "autoscale"
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "autoscale", "--folder", str(folder), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(
            redis_url=valkey_server.url,
            database_url=sqlite.url,
            source=f"file:{posts(tmp_path)}",
            workers_min=1,
            workers_max=1,
        ),
        start_new_session=True,
    )
    wait_until(started(folder, "cpu0.log"), "a worker")
    [worker] = psutil.Process(child.pid).children()[-1:]
    child.kill()
    child.wait(timeout=60)
    wait_until(lambda: not worker.is_running(), "the end of its worker")


def posts(folder: Path) -> Path:
    path = folder / "posts.jsonl"
    path.write_text('{"id": "1", "text": "x"}\n')
    return path
