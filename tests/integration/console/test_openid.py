"""Signing in by an OpenID provider, over real HTTP with a provider in a process of its own."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from console.people.openid import Provider
from console.people.sign_in_openid import COOKIE as BEGUN
from console.web.access import COOKIE
from deadpan.cli import app
from deadpan.core.errors import ConfigurationError, SignInUnavailable
from storage import tables
from storage.base.database import connect, transaction
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from storage.people import audit, identities, moderators
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, serving
from tests.provider import CALLBACK, CLIENT_ID, CLIENT_SECRET, PUBLIC, Browser, OpenIdProvider
from worker.local.embedded import free_port


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    running = OpenIdProvider(free_port(), CALLBACK)
    yield running
    running.stop()


@pytest.fixture
def console(tmp_path: Path, intake: Intake, provider: OpenIdProvider) -> Iterator[ConsoleServer]:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    provider.be()
    with serving(
        database,
        intake,
        EvidenceStore(str(tmp_path / "evidence")),
        url=PUBLIC,
        provider=Provider(provider.issuer, CLIENT_ID, CLIENT_SECRET, PUBLIC),
    ) as server:
        _add(server, "ann", "ann@x.example")
        yield server
    database.dispose()


def _add(console: ConsoleServer, name: str, email: str, role: str = "moderator") -> None:
    with transaction(console.database) as connection:
        moderators.add(connection, name, role, actor="test", email=email)


@pytest.fixture
def browser(console: ConsoleServer) -> Browser:
    return Browser(console)


def _refusals(console: ConsoleServer) -> list[dict[str, Any]]:
    with transaction(console.database, read_only=True) as connection:
        found = audit.read(connection, limit=100, action="session.refused")
    return [dict(each.after or {}) for each in found]


def _identities(database: Engine) -> list[tuple[str, int]]:
    with transaction(database, read_only=True) as connection:
        columns = tables.identities.c
        rows = connection.execute(select(columns.subject, columns.moderator_id))
        return [(row.subject, row.moderator_id) for row in rows]


def test_a_verified_address_opens_the_account_that_an_admin_made(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    assert f"Sign in with {urlsplit(provider.issuer).netloc}" in browser.get("/sign-in").text
    away = browser.leave("/sign-in/oidc?next=/insight", headers={"Host": "evil.example"})
    asked = {name: values[0] for name, values in parse_qs(urlsplit(away).query).items()}
    assert asked["redirect_uri"] == CALLBACK
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid email"
    assert len(asked["state"]) >= 20
    assert len(asked["nonce"]) >= 20
    answer = browser.come_back(provider.authorize(away))
    assert (answer.status_code, answer.headers["location"]) == (303, "/insight")
    assert BEGUN not in browser.cookies
    assert browser.name() == "ann"
    with transaction(console.database, read_only=True) as connection:
        done = {each.action: each for each in audit.read(connection, limit=20)}
    assert done["session.start"].after == {"by": provider.issuer}
    assert done["session.start"].actor == "ann"
    assert done["identity.add"].after == {"issuer": provider.issuer, "subject": "s1"}


def test_cookies_are_for_https_alone_where_the_console_is(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    lines = browser.get("/sign-in/oidc").headers.get_list("set-cookie")
    (line,) = [each for each in lines if each.startswith(BEGUN)]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/sign-in/oidc"} <= set(line.split("; "))


def test_from_then_on_the_subject_counts_and_not_the_address(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    assert browser.sign_in(provider).status_code == 303
    provider.be(user={"sub": "s1", "email": "other@x.example", "email_verified": False})
    again = Browser(console)
    assert again.sign_in(provider).status_code == 303
    assert again.name() == "ann"
    # Somebody else is given ann's old address: they do not become ann.
    provider.be(user={"sub": "s2", "email": "ann@x.example", "email_verified": True})
    answer = Browser(console).sign_in(provider)
    assert answer.status_code == 403
    assert "is linked to another account of this provider" in answer.text
    assert [subject for subject, _ in _identities(console.database)] == ["s1"]


def test_the_session_is_a_new_one(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    before = console.session("bob")
    browser.cookies[COOKIE] = before
    assert browser.sign_in(provider).status_code == 303
    assert browser.cookies[COOKIE] != before
    assert browser.name() == "ann"
    thief = Browser(console)
    thief.cookies[COOKIE] = before
    assert thief.get("/").status_code == 303, "the session that was there is over"


def test_an_address_that_the_provider_keeps_for_who_asks_is_asked_for(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    provider.be(thin=True, userinfo={"sub": "somebody else"})
    answer = browser.sign_in(provider)
    assert (answer.status_code, "two different people" in answer.text) == (403, True)
    provider.be(thin=True)
    assert browser.sign_in(provider).status_code == 303


STRANGERS: list[tuple[dict[str, Any], str]] = [
    ({"email": "ann@x.example"}, "does not say that your e-mail address was verified"),
    ({"email": "ann@x.example", "email_verified": False}, "does not say"),
    ({"email": "ann@x.example", "email_verified": "true"}, "does not say"),
    ({"email_verified": True}, "does not say"),
    ({"email": ["ann@x.example"], "email_verified": True}, "does not say"),
    ({"email": "eve@x.example", "email_verified": True}, "obody here has the e-mail address"),
    ({"email": "ann@x.e\u212aample", "email_verified": True}, "obody here has"),
    ({"email": "<b>@x.example", "email_verified": True}, "&lt;b&gt;@x.example"),
]


def test_nobody_comes_in_by_an_address_that_is_unverified_or_unknown(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    _add(console, "kim", "ann@x.ekample")
    for user, says in STRANGERS:
        provider.be(user={"sub": "s9", **user})
        answer = browser.sign_in(provider)
        assert (answer.status_code, says in answer.text) == (403, True), (user, answer.text)
        assert COOKIE not in browser.cookies
        assert _identities(console.database) == []
        refused = _refusals(console)[0]
        assert (refused["by"], refused["subject"]) == (provider.issuer, "s9")
    assert len(_refusals(console)) == len(STRANGERS)


def test_letters_a_to_z_of_an_address_may_be_large(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    provider.be(user={"sub": "s1", "email": "Ann@X.Example", "email_verified": True})
    assert browser.sign_in(provider).status_code == 303


def test_an_address_of_two_people_is_nobodys(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    _add(console, "ann2", "ann@x.example", role="admin")
    answer = browser.sign_in(provider)
    assert (answer.status_code, "2 people here" in answer.text) == (403, True)


def test_who_is_disabled_here_stays_out(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    for _ in range(2):  # known by the address, and then by the subject
        with transaction(console.database) as connection:
            moderators.set_disabled(connection, "ann", True, actor="test")
        answer = browser.sign_in(provider)
        assert (answer.status_code, "account is disabled" in answer.text) == (403, True)
        assert COOKIE not in browser.cookies
        with transaction(console.database) as connection:
            moderators.set_disabled(connection, "ann", False, actor="test")
        assert Browser(console).sign_in(provider).status_code == 303
    assert len(_refusals(console)) == 2


NOW = int(time.time())


LIES: list[tuple[dict[str, Any], str]] = [
    ({"claims": {"nonce": "another"}}, "nonce"),
    ({"claims": {"nonce": None}}, "nonce"),
    ({"claims": {"aud": "other"}}, "azp"),
    ({"claims": {"aud": "other", "azp": CLIENT_ID}}, "another audience"),
    ({"claims": {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}}, "another audience"),
    ({"claims": {"aud": None}}, "aud"),
    ({"claims": {"iss": "https://evil.example"}}, "iss"),
    ({"claims": {"exp": NOW - 3600, "iat": NOW - 7200}}, "expired"),
    ({"claims": {"exp": None}}, "exp"),
    ({"claims": {"iat": NOW + 3600, "exp": NOW + 7200}}, "sign in again"),
    ({"claims": {"sub": ""}}, "names no user"),
    ({"claims": {"sub": 7}}, "sub"),
    ({"claims": {"sub": "s" * 256}}, "names no user"),
    ({"alg": "none"}, "sign in again"),
    ({"alg": "HS256"}, "sign in again"),
    ({"alg": "stranger"}, "sign in again"),
    ({"answer": {"iss": "https://evil.example"}}, "another provider"),
]


def test_a_token_that_is_not_what_was_asked_for_opens_nothing(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    for number, (mood, says) in enumerate(LIES, start=1):
        provider.be(**mood)
        answer = browser.sign_in(provider)
        assert (answer.status_code, says in answer.text) == (403, True), (mood, answer.text)
        assert COOKIE not in browser.cookies, mood
        assert len(_refusals(console)) == number
    provider.be()
    assert browser.sign_in(provider).status_code == 303, "and an honest one does"


def test_what_was_begun_elsewhere_is_not_ended_here(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    thief = Browser(console)
    there = provider.authorize(thief.leave())
    answer = browser.come_back(there)  # without a cookie of its own
    assert (answer.status_code, "not started in this browser" in answer.text) == (403, True)
    assert _refusals(console) == []
    browser.leave()
    answer = browser.come_back(there)  # with one
    assert (answer.status_code, "not started in this browser" in answer.text) == (403, True)
    assert len(_refusals(console)) == 1
    browser.leave()
    mine = parse_qs(urlsplit(browser.leave()).query)["state"][0]
    code = parse_qs(urlsplit(there).query)["code"][0]
    answer = browser.come_back(f"{CALLBACK}?state={mine}&code={code}")  # a code that was injected
    assert answer.status_code == 403
    assert COOKIE not in browser.cookies


def test_a_cookie_that_was_made_up_or_is_old_begins_nothing(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    there = provider.authorize(browser.leave())
    browser.cookies[BEGUN] = browser.cookies[BEGUN][:-3] + "abc"
    assert browser.come_back(there).status_code == 403


@pytest.mark.parametrize(
    "mood",
    [
        {"new_key": True},
        {"alg": "PS256", "metadata": {"id_token_signing_alg_values_supported": ["PS256"]}},
    ],
    ids=["another key under the same name", "another algorithm"],
)
def test_a_provider_that_changes_how_it_signs_is_asked_again_at_once(
    console: ConsoleServer,
    provider: OpenIdProvider,
    browser: Browser,
    mood: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert browser.sign_in(provider).status_code == 303
    monkeypatch.setattr("console.people.openid._REST_SECONDS", 0)
    provider.be(**mood)
    assert Browser(console).sign_in(provider).status_code == 303


def test_the_secret_is_proved_as_the_standard_says(provider: OpenIdProvider) -> None:
    secret = "a b+c/d=e%f&g:h\u00e9"
    session = Provider(provider.issuer, CLIENT_ID, secret, PUBLIC)._client()._get_oauth_client()
    headers: dict[str, str] = {}
    session.client_auth(session.token_endpoint_auth_method).prepare("POST", "", headers, "")
    sent = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().split(":")
    assert [unquote_plus(part) for part in sent] == [CLIENT_ID, secret]


def test_a_code_is_good_once(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    away = browser.leave()
    kept = browser.cookies[BEGUN]
    there = provider.authorize(away)
    assert browser.come_back(there).status_code == 303
    replay = Browser(console)
    replay.cookies[BEGUN] = kept
    answer = replay.come_back(there)
    assert (answer.status_code, "invalid_grant" in answer.text) == (403, True)
    assert COOKIE not in replay.cookies


def test_who_declines_there_is_told_so(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    state = parse_qs(urlsplit(browser.leave()).query)["state"][0]
    said = f"state={state}&error=access_denied&error_description=Call+555-EVIL"
    answer = browser.come_back(f"{CALLBACK}?{said}")
    assert (answer.status_code, "it was declined" in answer.text) == (403, True)
    assert "EVIL" not in answer.text


@pytest.mark.parametrize("onwards", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_it_leads_to_no_other_site(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser, onwards: str
) -> None:
    away = str(browser.get("/sign-in/oidc", params={"next": onwards}).headers["location"])
    answer = browser.come_back(provider.authorize(away))
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"issuer": "https://evil.example"}, "set it to exactly the same value"),
        ({"issuer": "ISSUER/"}, "set it to exactly the same value"),
        ({"token_endpoint": "ftp://evil.example/"}, "not a trusted address"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not a trusted address"),
        ({"jwks_uri": None}, "not a trusted address"),
        ({"jwks_uri": "ISSUER/nowhere"}, "cannot be reached right now"),
    ],
    ids=str,
)
def test_a_provider_that_is_not_what_the_settings_say_is_not_used(
    provider: OpenIdProvider, metadata: dict[str, Any], says: str
) -> None:
    given = {
        name: value.replace("ISSUER", provider.issuer) if value else value
        for name, value in metadata.items()
    }
    provider.be(metadata=given)
    with pytest.raises(SignInUnavailable, match=says):
        Provider(provider.issuer, CLIENT_ID, CLIENT_SECRET, PUBLIC).begin()


def test_a_provider_that_takes_the_secret_in_the_body_gets_it_there(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    ways = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    provider.be(auth_method="client_secret_post", metadata=ways)
    assert browser.sign_in(provider).status_code == 303


def test_a_provider_that_is_away_locks_nobody_out_who_has_a_password(
    tmp_path: Path, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    away = Provider(f"http://127.0.0.1:{free_port()}", CLIENT_ID, CLIENT_SECRET, PUBLIC)
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, url=PUBLIC, provider=away) as console:
        browser = Browser(console)
        answer = browser.get("/sign-in/oidc")
        assert answer.status_code == 503
        assert "cannot be reached right now; try again, or sign in with a password" in answer.text
        assert 'name="password"' in answer.text
        assert browser.get("/sign-in?out=1").status_code == 200
    database.dispose()


def test_a_secret_that_the_provider_does_not_know_is_said_and_not_shown(
    console: ConsoleServer, provider: OpenIdProvider, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Provider(provider.issuer, CLIENT_ID, "canary-wrong", PUBLIC)
    begun = wrong.begin()
    code = parse_qs(urlsplit(provider.authorize(begun.url)).query)["code"][0]
    with pytest.raises(
        SignInUnavailable, match="DEADPAN_OIDC_CLIENT_ID and DEADPAN_OIDC_CLIENT_SECRET"
    ) as caught:
        wrong.finish(code, iss=None, nonce=begun.nonce, verifier=begun.verifier)
    for shown in (str(caught.value), repr(wrong), caplog.text):
        assert "canary" not in shown
        assert begun.verifier not in shown


def test_without_the_setting_there_is_no_such_way(tmp_path: Path, intake: Intake) -> None:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as console:
        person = console.client()
        assert "Sign in with" not in person.get("/sign-in").text
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=a&state=b"):
            assert person.get(path).status_code == 404
    database.dispose()


def test_signing_out_ends_the_session_and_offers_to_end_the_providers(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    browser.sign_in(provider)
    person = console.client()
    person.http.cookies.set(COOKIE, browser.cookies[COOKIE])
    answer = person.post("/sign-out")
    assert answer.headers["location"] == "/sign-in?out=1"
    assert browser.get("/").status_code == 303
    page = browser.get("/sign-in?out=1").text
    assert f'href="{provider.issuer}/end?client_id={CLIENT_ID}"' in page


def test_an_admin_says_who_somebody_is_and_forgets_it(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    with transaction(console.database) as connection:
        bob = moderators.add(connection, "bob", "lead", actor="test")
        identities.bind(connection, bob, provider.issuer, "subject of bob", actor="test")
        ann = moderators.by_name(connection, "ann")
        with pytest.raises(ConfigurationError, match="is linked to bob"):
            identities.bind(connection, ann, provider.issuer, "subject of bob", actor="test")
        with pytest.raises(ConfigurationError, match="bob is linked to another"):
            identities.bind(connection, bob, provider.issuer, "another", actor="test")
        with pytest.raises(ConfigurationError, match="invalid subject"):
            identities.bind(connection, bob, provider.issuer, "", actor="test")
    provider.be(user={"sub": "subject of bob"})
    assert browser.sign_in(provider).status_code == 303
    assert browser.name() == "bob"
    chief = console.client("chief", "admin")
    chief.post("/moderators/bob/email", {"email": "bob@x.example"})
    assert 'value="bob@x.example"' in chief.get("/moderators").text
    chief.post("/moderators/bob/identity/forget")
    assert browser.get("/").status_code == 303, "sessions end with it"
    assert Browser(console).sign_in(provider).status_code == 403


def test_who_comes_by_the_provider_leaves_no_other_door_open(
    console: ConsoleServer, provider: OpenIdProvider, browser: Browser
) -> None:
    browser.sign_in(provider)
    person = console.client()
    person.http.cookies.set(COOKIE, browser.cookies[COOKIE])
    assert 'name="again"' not in person.get("/settings").text
    chosen = {"password": "four words and more", "again": "four words and more"}
    answer = person.post("/settings/password", chosen)
    assert (answer.status_code, "an admin can make you a link" in answer.text) == (422, True)


def test_the_command_line_writes_down_addresses_and_identities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/deadpan.db"
    database = connect(url)
    migrate(database)
    monkeypatch.setenv("DEADPAN_DATABASE_URL", url)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["moderators", *words])
        return done.exit_code, done.output or str(done.exception)

    assert run("add", "ann")[0] == 0
    assert run("email", "ann", "ann@x.example") == (
        0, "ann's e-mail address is ann@x.example\n",
    )  # fmt: skip
    assert "is not an e-mail address" in run("email", "ann", "nonsense")[1]
    assert "set DEADPAN_OIDC_ISSUER" in run("identity", "ann", "s1")[1]
    for name in ("console_url", "oidc_issuer", "oidc_client_id", "oidc_client_secret"):
        monkeypatch.setenv(f"DEADPAN_{name.upper()}", "https://login.example")
    assert run("identity", "ann", "s1") == (0, "ann is now linked to s1 at https://login.example\n")
    assert "either a subject or --forget" in run("identity", "ann")[1]
    assert _identities(database) == [("s1", 1)]
    assert run("identity", "ann", "--forget")[0] == 0
    assert _identities(database) == []
    database.dispose()
