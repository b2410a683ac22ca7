"""`deadpan up` gives each process a port, and asks each by its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deadpan.commands.up import require_ports
from deadpan.core.errors import ConfigurationError, DeadpanError
from tasks.intake.intake import Intake
from tests.harness import environment, wait_until
from worker.health import HealthServer
from worker.local.embedded import free_port
from worker.local.processes import ChildProcess
from worker.local.services import console_process, wait_until_ready, wait_until_served


def test_a_port_that_two_would_have_is_named_with_both() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_ports(8000, 6380, 7999)
    assert caught.value.problems == (
        "port 8000 is for the console (--port) and for housekeeping (the one after "
        "DEADPAN_METRICS_PORT); choose another for one of them",
    )
    with pytest.raises(ConfigurationError, match=r"Valkey .+ the worker"):
        require_ports(8000, 6380, 6380)


def test_a_port_that_somebody_has_is_named_with_what_chooses_another() -> None:
    taken = free_port()
    server = HealthServer("127.0.0.1", taken, lambda: None, process="console")
    try:
        for ports in ((taken, 0, 0), (0, taken, 0), (0, 0, taken), (0, 0, taken - 1)):
            with pytest.raises(ConfigurationError, match=f"{taken} .+ choose another"):
                require_ports(*ports)
        require_ports(0, 0, 0)
    finally:
        server.stop()


@pytest.mark.parametrize("answers", ["housekeeping", "console"])
def test_a_console_whose_port_another_process_has_is_not_called_served(
    tmp_path: Path, answers: str
) -> None:
    taken = free_port()
    server = HealthServer("127.0.0.1", taken, lambda: None, process=answers)
    server.start()
    settings = environment(database_url=f"sqlite:///{tmp_path}/deadpan.db")
    console = console_process(settings, port=taken, log_path=tmp_path / "console.log")
    try:
        with console, pytest.raises(DeadpanError, match=r"cannot listen on 127\.0\.0\.1") as caught:
            wait_until_served(console, taken)
        assert str(caught.value).startswith("the console ended before it was ready")
    finally:
        server.stop()


def test_a_worker_that_was_there_before_is_not_taken_for_this_one(
    tmp_path: Path, intake: Intake
) -> None:
    intake.say("worker-1@here", ready=True, model="mini")
    command = [sys.executable, "-c", "import time; time.sleep(1); print('too late')"]
    worker = ChildProcess("worker", command, log_path=tmp_path / "log")
    with worker, pytest.raises(DeadpanError, match="ended before it was ready:\ntoo late"):
        wait_until_ready(worker, intake)
    with ChildProcess("worker", ["sleep", "600"], log_path=tmp_path / "log") as worker:
        intake.say(f"worker-{worker.pid}@here", ready=True, model="mini")
        wait_until_ready(worker, intake)


def test_a_child_that_cannot_work_as_configured_is_told_while_it_is_watched(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('wrong setting'); raise SystemExit(2)"]
    with ChildProcess("console", command, log_path=tmp_path / "log", restart=True) as child:
        wait_until(lambda: child.exit_code is not None, "its end")
        with pytest.raises(DeadpanError, match="cannot work as configured:\nwrong setting"):
            child.require()
