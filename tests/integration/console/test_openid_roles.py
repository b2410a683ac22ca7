"""Roles that the OpenID provider gives at each sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from console.people.openid import Provider
from console.people.openid_roles import ClaimedRoles
from console.web.access import COOKIE
from deadpan.cli import app
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import audit, moderators
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, serving
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

ROLES = ClaimedRoles(
    "realm_access.roles", {"watch": "viewer", "team": "moderator", "leads": "lead", "it": "admin"}
)


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
    by = Provider(provider.issuer, CLIENT_ID, CLIENT_SECRET, PUBLIC, roles=ROLES)
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, url=PUBLIC, provider=by) as server:
        with transaction(database) as connection:
            moderators.add(connection, "ann", "moderator", actor="test", email="ann@x.example")
        yield server


def _as(provider: OpenIdProvider, *roles: str, **mood: Any) -> None:
    provider.be(claims={"realm_access": {"roles": list(roles)}}, **mood)


def _role(console: ConsoleServer, name: str = "ann") -> str:
    with transaction(console.database, read_only=True) as connection:
        return moderators.by_name(connection, name).role


def _changes(console: ConsoleServer) -> list[tuple[str, str, Any, Any]]:
    with transaction(console.database, read_only=True) as connection:
        found = audit.read(connection, limit=100, action="moderator.role")
    return [(each.actor, each.subject, each.before, each.after) for each in found]


def test_the_role_is_that_of_the_claim_at_each_sign_in_and_older_sessions_have_it_at_once(
    console: ConsoleServer, provider: OpenIdProvider
) -> None:
    first = Browser(console)
    _as(provider, "team", "leads", "offline_access")
    assert first.sign_in(provider).status_code == 303
    assert _role(console) == "lead"
    assert first.get("/audit").status_code == 200
    change = {"role": "moderator"}, {"role": "lead"}
    assert _changes(console) == [("openid", "moderator ann", *change)]
    assert Browser(console).sign_in(provider).status_code == 303
    assert len(_changes(console)) == 1, "what stays is not written down again"
    headers = console.token("ann", "audit:read", "flags:read")
    assert first.person.http.get("/api/v1/audit", headers=headers).status_code == 200
    _as(provider, "watch")
    assert Browser(console).sign_in(provider).status_code == 303
    assert first.get("/settings").status_code == 200, "the session goes on"
    assert first.get("/audit").status_code == 403, "with what the role may"
    assert first.person.http.get("/api/v1/audit", headers=headers).status_code == 403
    assert first.person.http.get("/api/v1/flags", headers=headers).status_code == 200


def test_whom_no_value_gives_a_role_stays_out_and_sessions_that_were_there_end(
    console: ConsoleServer, provider: OpenIdProvider
) -> None:
    strange: list[dict[str, Any]] = [
        {"claims": {"realm_access": None}},
        {"claims": {"realm_access": {"roles": []}}},
        {"claims": {"realm_access": {"roles": ["Team", "administrators"]}}},
        {"claims": {"realm_access": "it"}},
        {"claims": {"realm_access": {"roles": {"it": True}}}},
    ]
    for mood in strange:
        provider.be(**mood)
        browser = Browser(console)
        answer = browser.sign_in(provider)
        assert (answer.status_code, "gives you no role for this console" in answer.text) == (
            403,
            True,
        )
        assert COOKIE not in browser.cookies
    first = Browser(console)
    _as(provider, "team")
    assert first.sign_in(provider).status_code == 303
    _as(provider)
    assert Browser(console).sign_in(provider).status_code == 403
    assert first.get("/settings").status_code == 303, "the session is over"
    with transaction(console.database, read_only=True) as connection:
        refused = audit.read(connection, limit=9, action="session.refused")
        ended = audit.read(connection, limit=9, action="session.end")
    assert "no role for this console" in str(refused[0].after)
    assert [(each.actor, each.subject) for each in ended] == [("openid", "ann")]
    assert _role(console) == "moderator"


def test_a_claim_that_is_told_to_who_asks_for_it_is_asked_for(
    console: ConsoleServer, provider: OpenIdProvider
) -> None:
    provider.be(userinfo={"realm_access": {"roles": ["leads"]}})
    assert Browser(console).sign_in(provider).status_code == 303
    assert _role(console) == "lead"
    # What the ID token says is signed, and counts where both say something.
    _as(provider, "team", userinfo={"realm_access": {"roles": ["it"]}})
    assert Browser(console).sign_in(provider).status_code == 303
    assert _role(console) == "moderator"
    provider.be(userinfo={"sub": "another", "realm_access": {"roles": ["it"]}})
    assert Browser(console).sign_in(provider).status_code == 403
    assert _role(console) == "moderator"


def test_who_is_kept_out_here_is_so_whatever_role_the_provider_gives(
    console: ConsoleServer, provider: OpenIdProvider
) -> None:
    with transaction(console.database) as connection:
        moderators.set_disabled(connection, "ann", True, actor="test")
    _as(provider, "it")
    assert Browser(console).sign_in(provider).status_code == 403
    assert _role(console) == "moderator"


def test_the_last_admins_role_falls_and_the_command_line_gives_it_back(
    console: ConsoleServer,
    provider: OpenIdProvider,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _as(provider, "it")
    assert Browser(console).sign_in(provider).status_code == 303
    with (
        transaction(console.database) as connection,
        pytest.raises(ConfigurationError, match="the last admin"),
    ):
        moderators.set_role(connection, "ann", "viewer", actor="test")
    _as(provider, "watch")
    browser = Browser(console)
    assert browser.sign_in(provider).status_code == 303
    assert browser.get("/moderators").status_code == 403
    assert _role(console) == "viewer"
    _as(provider)  # and then the provider lets nobody in
    assert browser.sign_in(provider).status_code == 403
    monkeypatch.setenv("DEADPAN_DATABASE_URL", database_url)
    said = [
        CliRunner().invoke(app, ["moderators", *words]).output
        for words in (("role", "ann", "admin"), ("sign-in-link", "ann"))
    ]
    path = said[1].strip().partition(":8000")[2]
    page = browser.get(path).text
    fields = {"token": path.partition("token=")[2], "form": field_of_form(page)}
    assert browser.post("/sign-in/link", fields).status_code == 303
    assert "Roles come from" in browser.get("/moderators").text
    assert _changes(console)[0][0] == "command line"


def test_nobody_is_called_what_the_audit_log_calls_the_provider(database: Engine) -> None:
    with (
        transaction(database) as connection,
        pytest.raises(ConfigurationError, match="use another one"),
    ):
        moderators.add(connection, "openid", "moderator", actor="test")
