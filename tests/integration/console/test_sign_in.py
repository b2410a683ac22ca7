"""Signing in over real HTTP: links, passwords, guessers, sessions that end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from console.web.access import COOKIE
from storage import tables
from storage.base.database import connect, transaction
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from storage.people import moderators, sessions
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, Person, serving
from tests.harness import environment
from worker.local.embedded import EmbeddedValkey

PASSWORD = "four words and more"


@pytest.fixture
def console(tmp_path: Path, intake: Intake) -> Iterator[ConsoleServer]:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server
    database.dispose()


def _form(page: str) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found, page
    return found[1]


def _sign_in(console: ConsoleServer, person: Person, password: str, name: str = "ann") -> int:
    form = _form(person.get("/sign-in").text)
    fields = {"name": name, "password": password, "form": form, "next": "/insight"}
    return person.http.post("/sign-in", data=fields).status_code


def _with_password(console: ConsoleServer, name: str = "ann") -> Person:
    """Somebody who chose a password by a link."""
    who = console.person(name)
    with transaction(console.database) as connection:
        link = sessions.make_link(connection, who, actor="test", sets_password=True)
    person = console.client()
    form = _form(person.get(f"/sign-in?token={link}").text)
    fields = {"token": link, "form": form, "password": PASSWORD, "again": PASSWORD}
    assert person.http.post("/sign-in/link", data=fields).status_code == 303
    return person


def test_a_link_lets_one_choose_a_password_once(console: ConsoleServer) -> None:
    who = console.person("ann")
    with transaction(console.database) as connection:
        link = sessions.make_link(connection, who, actor="test", sets_password=True)
    first, second = console.client(), console.client()
    forms = [_form(each.get(f"/sign-in?token={link}").text) for each in (first, second)]
    fields = {"token": link, "form": forms[0], "password": "short", "again": "short"}
    refused = first.http.post("/sign-in/link", data=fields)
    assert refused.status_code == 422
    assert "5 characters; use 12 or more" in refused.text
    fields |= {"password": PASSWORD, "again": PASSWORD, "form": _form(refused.text)}
    assert first.http.post("/sign-in/link", data=fields).headers["location"] == "/"
    assert first.get("/").status_code == 200
    again = second.http.post("/sign-in/link", data=fields | {"form": forms[1]})
    assert again.status_code == 401
    assert "already used" in again.text
    assert _sign_in(console, console.client(), PASSWORD) == 303


def test_a_sign_in_makes_a_new_session_and_ends_the_one_before(console: ConsoleServer) -> None:
    _with_password(console)
    person = console.client()
    person.http.cookies.set(COOKIE, "chosen-by-a-thief")
    assert _sign_in(console, person, PASSWORD) == 303
    token = {cookie.value for cookie in person.http.cookies.jar if cookie.name == COOKIE}
    assert any(value and len(value) > 40 for value in token)
    assert httpx.get(f"{console.url}/", cookies={COOKIE: "chosen-by-a-thief"}).status_code == 303
    old = next(value for value in token if value and len(value) > 40)
    other = console.client()
    other.http.cookies.set(COOKIE, old)
    assert other.get("/").status_code == 200
    person.post("/sign-out")
    assert other.get("/").status_code == 303, "the session is over, wherever its cookie went"


def test_a_cookie_is_not_for_scripts_nor_for_other_sites(console: ConsoleServer) -> None:
    _with_password(console)
    person = console.client()
    fields = {"name": "ann", "password": PASSWORD, "form": _form(person.get("/sign-in").text)}
    answer = person.http.post("/sign-in", data=fields)
    cookie = next(each for each in answer.headers.get_list("set-cookie") if COOKIE in each)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_a_guesser_has_to_wait_and_locks_nobody_else_out(console: ConsoleServer) -> None:
    owner = _with_password(console)
    guesser = console.client()
    statuses = [_sign_in(console, guesser, f"guess {number}") for number in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert _sign_in(console, guesser, PASSWORD) == 429, "even the right one has to wait"
    owner.post("/sign-out")
    # Behind the same address, but in a browser in which ann signed in before.
    assert _sign_in(console, owner, PASSWORD) == 303
    assert _sign_in(console, console.client(), PASSWORD, name="bob") == 401, "nor another account"


def test_nobody_learns_which_accounts_exist(console: ConsoleServer) -> None:
    _with_password(console)
    bodies = []
    for name in ("ann", "nobody"):
        person = console.client()
        fields = {"name": name, "password": "wrong", "form": _form(person.get("/sign-in").text)}
        answer = person.http.post("/sign-in", data=fields)
        bodies.append((answer.status_code, "Wrong name or password." in answer.text))
    assert bodies == [(401, True)] * 2


def test_a_sign_in_form_of_another_browser_is_refused(console: ConsoleServer) -> None:
    _with_password(console)
    form = _form(console.client().get("/sign-in").text)
    victim = console.client()
    fields = {"name": "ann", "password": PASSWORD, "form": form}
    assert victim.http.post("/sign-in", data=fields).status_code == 403


@pytest.mark.parametrize("onwards", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_leads_to_no_other_site(console: ConsoleServer, onwards: str) -> None:
    _with_password(console)
    person = console.client()
    form = _form(person.get("/sign-in", params={"next": onwards}).text)
    fields = {"name": "ann", "password": PASSWORD, "form": form, "next": onwards}
    assert person.http.post("/sign-in", data=fields).headers["location"] == "/"


def test_who_is_disabled_is_out_at_once(console: ConsoleServer) -> None:
    person, headers = console.client("ann"), console.token("ann", "flags:read")
    assert person.get("/").status_code == 200
    with transaction(console.database) as connection:
        moderators.set_disabled(connection, "ann", True, actor="test")
    assert person.get("/").status_code == 303
    assert httpx.get(f"{console.url}/api/v1/flags", headers=headers).status_code == 401


def test_a_session_ends_by_itself(console: ConsoleServer) -> None:
    person = console.client("ann")
    with transaction(console.database) as connection:
        long_ago = tables.sessions.c.last_seen_at
        for row in connection.execute(tables.sessions.select()).all():
            past = row.last_seen_at.replace(year=row.last_seen_at.year - 1)
            connection.execute(update(tables.sessions).values({long_ago: past}))
    assert person.get("/").headers["location"] == "/sign-in"


def test_a_new_password_ends_sessions_elsewhere(console: ConsoleServer) -> None:
    here = _with_password(console)
    there = console.client()
    assert _sign_in(console, there, PASSWORD) == 303
    fields = {"old": PASSWORD, "password": PASSWORD + "!", "again": PASSWORD + "!"}
    assert here.post("/settings/password", fields | {"old": "wrong"}).status_code == 422
    assert here.post("/settings/password", fields).status_code == 303
    assert here.get("/").status_code == 200
    assert there.get("/").status_code == 303


def test_the_database_keeps_no_secret_in_the_clear(console: ConsoleServer) -> None:
    _with_password(console)
    cookie = console.session("ann")
    token = console.token("ann", "flags:read")["Authorization"].split()[1]
    with transaction(console.database, read_only=True) as connection:
        rows = [
            str(row)
            for table in tables.metadata.sorted_tables
            for row in connection.execute(table.select())
        ]
    for secret in (cookie, token, PASSWORD):
        assert not any(secret in row for row in rows)


def test_the_first_start_prints_a_link_that_makes_an_administrator(
    tmp_path: Path, valkey_server: EmbeddedValkey
) -> None:
    database_url = f"sqlite:///{tmp_path}/deadpan.db"
    database = connect(database_url)
    migrate(database)
    database.dispose()
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "console", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(
            redis_url=valkey_server.url,
            database_url=database_url,
            evidence_url=tmp_path / "evidence",
            secret_key="s" * 48,
        ),
    )
    assert child.stdout
    with child, child.stdout:
        try:
            said = child.stdout.readline()
            pattern = r"console: (http://127\.0\.0\.1:\d+)/sign-in\?token=(\S+)\n"
            found = re.fullmatch(pattern, said)
            assert found, said
            with httpx.Client(base_url=found[1], timeout=30) as http:
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline:
                    try:
                        page = http.get("/sign-in", params={"token": found[2]})
                        break
                    except httpx.ConnectError:
                        time.sleep(0.05)
                fields = {"token": found[2], "form": _form(page.text)}
                fields |= {"password": PASSWORD, "again": PASSWORD}
                assert http.post("/sign-in/link", data=fields).status_code == 303
                assert http.get("/moderators").status_code == 200
        finally:
            child.terminate()
            child.wait(timeout=30)
