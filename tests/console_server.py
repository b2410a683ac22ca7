"""A console on loopback, with people who are signed in, for tests that speak HTTP to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from console.app import create_app
from console.serve import configuration, listen
from console.web.access import COOKIE, csrf_token
from console.web.state import Console
from deadpan.core.settings import Network
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import moderators, sessions, tokens
from storage.people.moderators import Moderator
from tasks.intake.intake import Intake

SECRET = "s" * 48


class ConsoleServer:
    """A console that runs in a thread of this process.

    Attributes:
        url: where it is.
    """

    def __init__(self, app: FastAPI, database: Engine, store: EvidenceStore, url: str) -> None:
        self.app = app
        self.database = database
        self.store = store
        self.url = url
        self._clients: list[httpx.Client] = []

    def close(self) -> None:
        """End what its people hold open."""
        for client in self._clients:
            client.close()

    def person(self, name: str, role: str = "moderator") -> Moderator:
        """A moderator, added if need be."""
        with transaction(self.database) as connection:
            known = {each.name: each for each in moderators.everyone(connection)}
            return known.get(name) or moderators.add(connection, name, role, actor="test")

    def session(self, name: str, role: str = "moderator") -> str:
        """The cookie of somebody who is signed in."""
        who = self.person(name, role)
        with transaction(self.database) as connection:
            return sessions.start(connection, who, client="a test", address=None)

    def client(self, name: str | None = None, role: str = "moderator") -> Person:
        """A browser without scripts; signed in if a name is given."""
        cookies = {} if name is None else {COOKIE: self.session(name, role)}
        self._clients.append(httpx.Client(base_url=self.url, cookies=cookies, timeout=30))
        return Person(self._clients[-1])

    def token(self, name: str, *scopes: str, role: str = "moderator") -> dict[str, str]:
        """The header of a program."""
        who = self.person(name, role)
        with transaction(self.database) as connection:
            made = tokens.make(connection, who, "test", scopes, actor="test")
        return {"Authorization": f"Bearer {made}"}


class Person:
    """Somebody with a browser that runs no script."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Look at a page."""
        return self.http.get(path, **more)

    def post(self, path: str, fields: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send a form, with what a form of this session carries."""
        mine = [cookie.value for cookie in self.http.cookies.jar if cookie.name == COOKIE]
        csrf = {"csrf": csrf_token(mine[-1])} if mine and mine[-1] else {}
        return self.http.post(path, data={**csrf, **(fields or {})})


@contextmanager
def serving(
    database: Engine,
    intake: Intake,
    store: EvidenceStore,
    *,
    port: int = 0,
    trusted_proxies: Collection[Network] = (),
    **more: Any,
) -> Iterator[ConsoleServer]:
    """Run a console until the block ends, on a port that is free if none is given."""
    provider = more.pop("provider", None)
    services = Console(database, intake, store, SECRET, **more)
    app = create_app(services, provider=provider)
    # A test wants the numbers, however long they take on a machine that is busy.
    app.state.insight.patience_seconds = 30
    listening = listen("127.0.0.1", port)
    server = uvicorn.Server(configuration(app, trusted_proxies))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made = ConsoleServer(app, database, store, f"http://127.0.0.1:{listening.getsockname()[1]}")
        with closing(made):
            yield made
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()
