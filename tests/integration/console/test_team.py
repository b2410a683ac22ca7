"""Comments, hand-overs, and views that belong to people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select

from storage import tables
from storage.base.database import transaction
from storage.flags import claims, summons, worklist
from storage.judging.evidence import EvidenceStore
from storage.keeping import erasure
from storage.people import audit
from tasks.intake.intake import Intake
from tests import postgres
from tests.console_data import flag
from tests.console_server import ConsoleServer, Person, serving

database_url = postgres.database_url


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    """Flags of two queues and languages, and three people."""
    flag(database, "p1", priority=90)
    flag(database, "p2", language="de", priority=50)
    flag(database, "p3", queue="sarcasm", priority=40)
    flag(database, "p4", queue="sarcasm", language="de", priority=30)
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        for name, role in (("ann", "moderator"), ("bob", "moderator"), ("eve", "lead")):
            server.person(name, role)
        yield server


def _next(person: Person, **fields: str) -> str:
    return person.post("/next", fields).headers["location"]


def _actions(console: ConsoleServer) -> list[str]:
    with transaction(console.database, read_only=True) as connection:
        return [each.action for each in audit.read(connection, limit=50)]


def test_a_comment_calls_whom_it_names_until_they_have_looked(console: ConsoleServer) -> None:
    ann, bob = console.client("ann"), console.client("bob")
    said = "@bob, is this satire? <b>@nobody</b> mail a@eve.example"
    assert ann.post("/flags/1/comments", {"text": said}).status_code == 303
    assert "1 for you" in bob.get("/history").text
    assert "mentioned you" in bob.get("/").text
    assert "for you</a>" not in console.client("eve", "lead").get("/history").text
    shown = bob.get("/flags/1").text
    assert "&lt;b&gt;@nobody&lt;/b&gt;" in shown
    assert "1 for you" not in bob.get("/history").text
    assert "flag.comment" in _actions(console)
    refused = ann.post("/flags/1/comments", {"text": " "})
    assert (refused.status_code, "write 1 to 2,000" in refused.text) == (422, True)
    assert (
        console.client("vera", "viewer").post("/flags/1/comments", {"text": "x"}).status_code == 403
    )


def test_what_was_handed_over_comes_first_even_when_its_claim_is_over(
    console: ConsoleServer,
) -> None:
    ann, bob = console.client("ann"), console.client("bob")
    assert _next(ann, queue="sarcasm") == "/flags/3?queue=sarcasm"
    ann.post("/flags/3/hand-over", {"to": "bob", "text": "you know these"})
    assert "1 for you" in bob.get("/history").text
    receiver = console.person("bob")
    with transaction(console.database) as connection:  # the claim is over
        claims.release(connection, 3, receiver)
    assert _next(bob) == "/flags/3"
    assert "you know these" in bob.get("/flags/3").text
    assert "for you</a>" not in bob.get("/history").text


def test_an_erasure_removes_comments_and_a_hidden_flag_takes_none(console: ConsoleServer) -> None:
    console.client("ann").post("/flags/1/comments", {"text": "it says: secret words"})
    with transaction(console.database) as connection:
        erasure.erase(connection, "post", "p1", requested_by="test")
        texts = connection.execute(select(tables.comments.c.text)).scalars().all()
    assert texts == [erasure.ERASED]


def test_n_takes_from_the_views_that_are_somebodys_work_and_from_nothing_else(
    console: ConsoleServer,
) -> None:
    eve, ann = console.client("eve", "lead"), console.client("ann")
    view = {"name": "German", "filters": "language=de", "shared": "1"}
    assert eve.post("/views", view).headers["location"] == "/?language=de"
    number = re.findall(r'action="/views/(\d+)/people"', eve.get("/views").text)[0]
    assert eve.post(f"/views/{number}/people", {"who": "ann"}).status_code == 303
    assert "Manage views" in ann.get("/").text
    for expected in ("/flags/2", "/flags/4"):
        assert _next(ann) == expected
        ann.post(f"{expected}/decide", {"action": "approve"})
    assert _next(ann).startswith("/?")
    empty = ann.get("/?empty=1").text
    assert "Your work is German, and nothing is open there." in empty
    assert _next(ann, everything="1") == "/flags/1"
    # Whose work nothing is gets the best of all.
    assert _next(console.client("bob")) == "/flags/3"
    assert {"view.save", "view.assign"} <= set(_actions(console))


def test_programs_take_from_the_views_of_their_moderator_too(console: ConsoleServer) -> None:
    eve = console.client("eve", "lead")
    view = {"name": "Sarcasm in German", "queue": "sarcasm", "filters": "language=de"}
    eve.post("/views", {**view, "shared": "1"})
    eve.post("/views/1/people", {"who": "ann"})
    token = console.token("ann", "flags:read", "flags:decide")
    with httpx.Client(base_url=console.url, headers=token, timeout=30) as program:

        def take(**wanted: object) -> object:
            number = program.post("/api/v1/claim-next", json=wanted).json()["flag_id"]
            if number is not None:
                said = {"action": "approve"}
                program.post(f"/api/v1/flags/{number}/decision", json=said).raise_for_status()
            return number

        assert take() == 4
        assert take() is None
        assert take(queue="sarcasm") == 3
        assert take(everything=True) == 1


def test_only_leads_share_and_nobody_sees_anothers_own_views(console: ConsoleServer) -> None:
    ann, bob = console.client("ann"), console.client("bob")
    mine = {"name": "Mine", "queue": "sarcasm"}
    assert ann.post("/views", {**mine, "shared": "1"}).status_code == 403
    assert ann.post("/views", {**mine, "filters": "age=2w"}).status_code == 422
    assert ann.post("/views", {"name": " ", "queue": "sarcasm"}).status_code == 422
    assert ann.post("/views", mine).status_code == 303
    assert ann.post("/views", {**mine, "queue": "negative"}).status_code == 303  # replaces it
    assert ann.get("/views").text.count(">Mine</a>") == 1
    assert "Mine" not in bob.get("/views").text
    assert bob.post("/views/1/delete").status_code == 404
    assert console.client("eve", "lead").post("/views/1/people", {"who": "ann"}).status_code == 404
    assert ann.post("/views/1/delete").status_code == 303
    assert "No views yet" in ann.get("/views").text


def test_programs_comment_and_keep_views(console: ConsoleServer) -> None:
    token = console.token("eve", "flags:read", "flags:decide", role="lead")
    with httpx.Client(base_url=console.url, headers=token, timeout=30) as program:
        said = program.post("/api/v1/flags/1/comments", json={"text": "hello @ann"})
        assert (said.status_code, said.json()["moderator"]) == (201, "eve")
        listed = program.get("/api/v1/flags/1/comments").json()["comments"]
        assert [each["text"] for each in listed] == ["hello @ann"]
        saved = program.post(
            "/api/v1/views", json={"name": "All", "queue": "negative", "shared": True}
        )
        view = saved.json()
        assigned = program.post(
            f"/api/v1/views/{view['id']}/people", json={"people": ["ann", "bob"]}
        )
        assert assigned.json()["people"] == ["ann", "bob"]
        wrong = program.post(f"/api/v1/views/{view['id']}/people", json={"people": ["vera"]})
        assert wrong.status_code == 404
        assert program.get("/api/v1/views").json()["views"][0]["people"] == ["ann", "bob"]
        assert program.delete(f"/api/v1/views/{view['id']}").json() == {"id": view["id"]}
    ann = console.person("ann")
    with transaction(console.database, read_only=True) as connection:
        assert summons.count(connection, ann) == 1
        (away,) = summons.unheard(
            connection, now=datetime.now(UTC).replace(year=2100), after=datetime.resolution
        )
        assert (away.moderator, away.asked_by, away.why) == ("ann", "eve", "mention")
        assert worklist.one(connection, 1).state == "open"
