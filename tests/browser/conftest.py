"""A real Chromium on a real console. Without a Chromium on the machine these tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import Engine

from console.web.access import COOKIE
from storage.judging.evidence import EvidenceStore
from tasks.intake.intake import Intake
from tests.browser.posts import fill
from tests.console_server import ConsoleServer, serving
from tests.postgres import new_database

CLAIM_SECONDS = 300.0

database_url = pytest.fixture(params=["sqlite"])(new_database)


def chromium() -> str | None:
    """Where Chromium is: named by CHROMIUM, or installed."""
    named = os.environ.get("CHROMIUM")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return named or next((path for path in found if path), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A browser test that hangs takes its process down, and xdist starts another.

    The usual way, an exception raised by a signal, leaves Playwright's event loop unusable: every
    browser test after it fails, and pytest never ends. Playwright's own timeouts come long before.
    """
    for item in items:
        if "chrome" in getattr(item, "fixturenames", ()):
            own = item.get_closest_marker("timeout")
            seconds = own.args[0] if own else float(config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(seconds, method="thread"), append=False)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    """One browser for all tests; each person gets a context of their own."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def claim_seconds() -> float:
    """How long a claim lasts; a test may say otherwise."""
    return CLAIM_SECONDS


@pytest.fixture
def console(
    tmp_path: Path, intake: Intake, database: Engine, claim_seconds: float
) -> Iterator[ConsoleServer]:
    """A console with posts in its queue."""
    store = EvidenceStore(str(tmp_path / "evidence"))
    fill(database, store)
    with serving(database, intake, store, claim_seconds=claim_seconds) as server:
        yield server


# As long as pages have for all else: on a busy machine five seconds are not much.
expect.set_options(timeout=20_000)


class People:
    """Opens browsers in which somebody is signed in."""

    def __init__(self, chrome: Browser, console: ConsoleServer) -> None:
        self._chrome = chrome
        self._console = console
        self._contexts: list[BrowserContext] = []

    def page(self, name: str, role: str = "moderator", **options: object) -> Page:
        """A page of somebody's own browser, nowhere yet; it fails on an error of its scripts."""
        context = self._chrome.new_context(base_url=self._console.url, **options)  # type: ignore[arg-type]
        self._contexts.append(context)
        context.set_default_timeout(20_000)
        token = self._console.session(name, role)
        context.add_cookies([{"name": COOKIE, "value": token, "url": self._console.url}])
        return context.new_page()

    def close(self) -> None:
        """Close them all."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def people(chrome: Browser, console: ConsoleServer) -> Iterator[People]:
    """Browsers of people."""
    made = People(chrome, console)
    yield made
    made.close()
