"""A console in which passwords are off: the provider signs in, and a link where it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from console.people import passwords
from console.people.links import first_link
from console.people.openid import Provider
from console.web.access import COOKIE
from deadpan.cli import app
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import audit, moderators, sessions
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, Person, serving
from tests.provider import (
    CALLBACK,
    CLIENT_ID,
    CLIENT_SECRET,
    PUBLIC,
    Browser,
    OpenIdProvider,
    field_of_form,
)
from worker.local.embedded import free_port

PASSWORD = "four words and more"


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    running = OpenIdProvider(free_port(), CALLBACK)
    yield running
    running.stop()


@pytest.fixture
def console(
    tmp_path: Path, intake: Intake, database: Engine, provider: OpenIdProvider
) -> Iterator[ConsoleServer]:
    provider.be()
    with serving(
        database,
        intake,
        EvidenceStore(str(tmp_path / "evidence")),
        url=PUBLIC,
        provider=Provider(provider.issuer, CLIENT_ID, CLIENT_SECRET, PUBLIC),
        passwords=False,
    ) as server:
        with transaction(database) as connection:
            ann = moderators.add(connection, "ann", "admin", actor="test", email="ann@x.example")
            kept = passwords.hashed(PASSWORD, "ann")
            moderators.set_password(connection, ann.id, kept, actor="test")
        yield server


def _refusals(console: ConsoleServer, action: str) -> list[tuple[str, str, Any]]:
    with transaction(console.database, read_only=True) as connection:
        found = audit.read(connection, limit=100, action=action)
    return [(each.actor, each.subject, each.after) for each in found]


def _try_password(browser: Browser) -> Any:
    form = field_of_form(browser.get("/sign-in").text)
    fields = {"name": "ann", "password": PASSWORD, "form": form, "next": "/insight"}
    return browser.post("/sign-in", fields)


def _link(console: ConsoleServer, *, sets_password: bool) -> str:
    with transaction(console.database) as connection:
        ann = moderators.by_name(connection, "ann")
        return sessions.make_link(connection, ann, actor="test", sets_password=sets_password)


def test_the_provider_alone_is_offered_and_the_right_password_opens_nothing(
    console: ConsoleServer, provider: OpenIdProvider
) -> None:
    browser = Browser(console)
    page = browser.get("/sign-in").text
    assert "Sign in with 127.0.0.1" in page
    assert 'type="password"' not in page
    for _ in range(7):
        answer = _try_password(browser)
        assert (answer.status_code, "Passwords are turned off here" in answer.text) == (403, True)
        assert 'href="/sign-in/oidc?next=/insight"' in answer.text
        assert COOKIE not in browser.cookies
    refused = _refusals(console, "session.refused")
    why = {"by": "password", "why": "passwords are turned off here"}
    assert set(map(str, refused)) == {str(("?", "?", why))}
    assert len(refused) == sessions.FREE_FAILURES + 1, "who goes on fills the log no further"
    assert browser.sign_in(provider).status_code == 303
    assert browser.name() == "ann"


def test_a_link_that_asks_for_a_password_opens_nothing_and_one_that_does_not_signs_in(
    console: ConsoleServer,
) -> None:
    browser = Browser(console)
    form = field_of_form(browser.get("/sign-in").text)
    asks = _link(console, sets_password=True)
    assert browser.get(f"/sign-in?token={asks}").status_code == 403
    form = field_of_form(browser.get("/sign-in").text)
    fields = {"token": asks, "form": form, "password": PASSWORD, "again": PASSWORD}
    answer = browser.post("/sign-in/link", fields)
    assert (answer.status_code, "Passwords are turned off here" in answer.text) == (403, True)
    assert COOKIE not in browser.cookies
    assert _refusals(console, "session.refused")[0][1] == "ann"
    token = _link(console, sets_password=False)
    page = browser.get(f"/sign-in?token={token}").text
    assert 'type="password"' not in page
    answer = browser.post("/sign-in/link", {"token": token, "form": field_of_form(page)})
    assert answer.status_code == 303
    assert browser.name() == "ann"


def test_nobody_is_asked_for_a_password_nor_given_a_link_to_choose_one(
    console: ConsoleServer,
) -> None:
    ann: Person = console.client("ann")
    assert 'type="password"' not in ann.get("/settings").text
    chosen = {"old": PASSWORD, "password": "other words and more", "again": "other words and more"}
    answer = ann.post("/settings/password", chosen)
    assert (answer.status_code, "passwords are turned off here" in answer.text) == (403, True)
    why = {"why": "passwords are turned off here"}
    assert _refusals(console, "password.refused") == [("ann", "moderator ann", why)]
    people = ann.get("/moderators").text
    assert "New link" not in people
    assert ">Password<" not in people
    answer = ann.post("/moderators/ann/link")
    assert (answer.status_code, "sign-in-link" in answer.text) == (403, True)
    assert _refusals(console, "link.refused") == [("ann", "moderator ann", why)]
    assert ann.post("/moderators/nobody/link").status_code == 404
    assert ann.post("/moderators", {"name": "bob", "role": "viewer"}).status_code == 303
    with transaction(console.database, read_only=True) as connection:
        assert moderators.by_name(connection, "bob").role == "viewer"
        assert audit.read(connection, limit=9, action="link.make") == []


def test_the_first_start_signs_in_without_a_password(database: Engine) -> None:
    made = first_link(database, PUBLIC, passwords=False)
    assert made is not None
    with transaction(database) as connection:
        link = sessions.look_at_link(connection, made.partition("token=")[2])
        assert (link.moderator.name, link.sets_password) == ("admin", False)
        moderators.set_email(connection, "admin", "ann@x.example", actor="test")
    assert first_link(database, PUBLIC, passwords=False) is None, "the provider finds them"


def test_the_command_line_makes_a_link_that_signs_in_and_none_for_a_password(
    console: ConsoleServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "DATABASE_URL": database_url,
        "CONSOLE_PASSWORDS": "off",
        "CONSOLE_URL": PUBLIC,
        "OIDC_ISSUER": "https://login.example",
        "OIDC_CLIENT_ID": "deadpan",
        "OIDC_CLIENT_SECRET": "hush",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"DEADPAN_{name}", value)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["moderators", *words])
        return done.exit_code, done.output or str(done.exception)

    assert run("add", "bob") == (0, "bob signs in with the OpenID provider; passwords are off\n")
    assert "`deadpan moderators sign-in-link ann`" in run("reset-link", "ann")[1]
    code, said = run("sign-in-link", "ann")
    assert code == 0
    assert "ann signs in here, once, within an hour:\nhttps://deadpan.example/sign-in?" in said
    browser = Browser(console)
    path = said.strip().rpartition(PUBLIC)[2]
    page = browser.get(path).text
    token = path.partition("token=")[2]
    assert (
        browser.post("/sign-in/link", {"token": token, "form": field_of_form(page)}).status_code
        == 303
    )
    assert browser.name() == "ann"
    assert run("disable", "bob")[0] == 0
    assert "`deadpan moderators enable bob`" in run("sign-in-link", "bob")[1]
