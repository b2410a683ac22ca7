"""Fixtures that start the real thing: Valkey from its wheel, PostgreSQL, platforms on loopback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey

pytest_plugins = ["tests.postgres"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of two browser tests."""
    parser.addoption("--pictures", action="store_true", help="take the pictures of docs/images")
    parser.addoption(
        "--race-flags", type=int, default=40, help="how many flags two browsers race to decide"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists the tests that only passed when tried again, which `.ci/run` does with `--reruns`."""
    again = {report.nodeid for report in terminalreporter.getreports("rerun")}
    failed = {report.nodeid for report in terminalreporter.getreports("failed")}
    if flaky := sorted(again - failed):
        terminalreporter.section("flaky: failed, then passed when tried again", yellow=True)
        for nodeid in flaky:
            terminalreporter.line(f"FLAKY {nodeid}")


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never see the DEADPAN_* variables of whoever runs them."""
    for name in list(os.environ):
        if name.startswith("DEADPAN_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def interrupts_count() -> None:
    """Tests that a shell runs with `&` would start children that ignore SIGINT, as they do."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models are converted once for all tests, and not into the developer's cache."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "cache"  # of all the run's processes
    else:
        folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One Valkey for the whole run."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def intake(valkey_server: EmbeddedValkey) -> Iterator[Intake]:
    """An intake on an empty Valkey."""
    intake = Intake.at(valkey_server.url)
    intake.client.flushall()
    yield intake
    intake.close()
