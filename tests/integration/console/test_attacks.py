"""What somebody tries who wants in, or wants the audit log to say something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from console.people import passwords
from deadpan.core.errors import AccessDenied
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import audit, moderators, sessions
from storage.tables import sign_in_failures
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, Person, serving
from tests.provider import field_of_form

PASSWORD = "four words and more"


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        with transaction(database) as connection:
            ann = moderators.add(connection, "ann", "moderator", actor="test")
            kept = passwords.hashed(PASSWORD, "ann")
            moderators.set_password(connection, ann.id, kept, actor="test")
        yield server


def _sign_in(person: Person, form: str, name: str, password: str) -> int:
    fields = {"name": name, "password": password, "form": form}
    return person.http.post("/sign-in", data=fields).status_code


def _try(console: ConsoleServer, name: str, password: str) -> int:
    """In a browser that was never here."""
    person = console.client()
    return _sign_in(person, field_of_form(person.get("/sign-in").text), name, password)


def _entries(console: ConsoleServer, action: str) -> list[tuple[str, str, Any]]:
    with transaction(console.database, read_only=True) as connection:
        found = audit.read(connection, limit=100, action=action)
    return [(each.actor, each.subject, (each.after or {}).get("why")) for each in found]


def test_guesses_that_are_sent_at_once_are_counted_before_they_are_looked_at(
    console: ConsoleServer,
) -> None:
    guessers = [console.client() for _ in range(12)]
    forms = [field_of_form(each.get("/sign-in").text) for each in guessers]
    guesses = [f"guess {number}" for number in range(12)]
    with transaction(console.database) as connection:
        # Next to have to wait for more than four minutes, and by now free to try again.
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        known = {"name": "ann", "place": "127.0.0.1", "last_at": long_ago}
        connection.execute(
            sign_in_failures.insert().values(**known, failures=sessions.FREE_FAILURES + 7)
        )
    with ThreadPoolExecutor(12) as pool:
        answers = Counter(pool.map(_sign_in, guessers, forms, ["ann"] * 12, guesses))
    assert answers == {401: 1, 429: 11}
    assert len(_entries(console, "session.refused")) == 1


def test_right_passwords_are_not_counted(console: ConsoleServer) -> None:
    for _ in range(sessions.FREE_FAILURES + 2):
        assert _try(console, "ann", PASSWORD) == 303
    ann = console.client("ann")
    for _ in range(sessions.FREE_FAILURES + 2):
        fields = {"old": PASSWORD, "password": "one thing and more", "again": "another"}
        assert "are not the same" in ann.post("/settings/password", fields).text


def test_nobody_writes_into_the_audit_log_by_anothers_name(console: ConsoleServer) -> None:
    for name in ("command line", "openid", "ann"):
        assert _try(console, name, "wrong") == 401
    assert {actor for actor, _, _ in _entries(console, "session.refused")} == {"?"}
    for actor in ("command line", "openid"):
        with transaction(console.database, read_only=True) as connection:
            assert audit.read(connection, limit=9, actor=actor) == []


def test_a_password_that_opens_nothing_is_in_the_audit_log(console: ConsoleServer) -> None:
    ann = console.client("ann")
    fields = {"old": "wrong", "password": "other words and more", "again": "other words and more"}
    assert ann.post("/settings/password", fields).status_code == 422
    why = "the current password was wrong"
    assert _entries(console, "password.refused") == [("ann", "moderator ann", why)]
    with transaction(console.database) as connection:
        moderators.set_disabled(connection, "ann", True, actor="test")
    assert _try(console, "ann", PASSWORD) == 401
    assert _entries(console, "session.refused") == [("?", "ann", "the account is disabled")]


@pytest.mark.parametrize("how", ["kept out", "another password"])
def test_links_end_with_what_ends_sessions(console: ConsoleServer, how: str) -> None:
    with transaction(console.database) as connection:
        ann = moderators.by_name(connection, "ann")
        made = [
            sessions.make_link(connection, ann, actor="test", sets_password=sets_password)
            for sets_password in (True, False)
        ]
        if how == "kept out":
            moderators.set_disabled(connection, "ann", True, actor="test")
            moderators.set_disabled(connection, "ann", False, actor="test")
        else:
            kept = passwords.hashed("other words and more", "ann")
            moderators.set_password(connection, ann.id, kept, actor="ann")
        for token in made:
            with pytest.raises(AccessDenied, match="link is unknown"):
                sessions.look_at_link(connection, token)
