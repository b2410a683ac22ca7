"""Second looks, appeals, known answers and exposure over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select

from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from storage.people import exposures
from storage.reviews import known_answers, reviews, second_looks
from storage.tables import outbox
from tasks.intake.intake import Intake
from tests import postgres
from tests.console_data import flag
from tests.console_server import ConsoleServer, serving
from tests.integration.console.second_looks import REMOVE, TELLING, decided, disagreed, flagged

database_url = postgres.database_url


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, second_review_share=1.0, report_decisions=True) as server:
        yield server


def _events(console: ConsoleServer) -> list[str]:
    with transaction(console.database, read_only=True) as connection:
        return [p["action"] for p in connection.execute(select(outbox.c.payload)).scalars()]


def test_before_the_vote_nothing_tells_what_was_decided_or_judged(console: ConsoleServer) -> None:
    number = decided(console)
    bob = console.client("bob")
    where = bob.post("/next").headers["location"]
    assert re.fullmatch(r"/reviews/\d+", where)
    page = bob.get(where).text
    assert "what a day" in page
    assert "Claimed by you" in page
    for told in TELLING:
        assert told not in page.replace("Hate speech", ""), told
    assert bob.get(f"/flags/{number}").headers["location"] == where
    for path in ("/history", "/?state=decided", "/?post=p1", "/?author=the+author&state=decided"):
        assert f"/flags/{number}" not in bob.get(path).text, path
    # Who wants it goes on with what is next, and is told no more than that it is not to be had.
    onwards = bob.post(f"/flags/{number}/claim").headers["location"]
    assert f"missed={number}" in onwards
    page = bob.get(onwards).text
    assert "is no longer available" in page
    assert "removed" not in page
    answer = bob.post(f"/flags/{number}/decide", {**REMOVE, "note": "my words"})
    assert answer.status_code == 409
    assert "removed" not in answer.text
    assert "my words" in answer.text
    assert "0.87" not in bob.post("/bulk", {"flag": number, "action": "approve"}).text
    answer = bob.post("/bulk/decide", {"seen": f"{number}:1", **REMOVE})
    assert answer.status_code == 409
    assert "removed" not in answer.text
    platform = console.token("platform", "verdicts:read", "flags:read")
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=platform) as api:
        assert api.get("/verdicts/p1").json()["verdict"]["negative"] == 0.87
        assert api.get(f"/flags/{number}").json()["outcome"] == "remove"
    headers = console.token("bob", "flags:read", "flags:decide", "verdicts:read")
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=headers) as api:
        assert api.get(f"/flags/{number}").status_code == 409
        assert api.get("/verdicts/p1").status_code == 409
        assert api.get("/flags?state=decided").json()["flags"] == []
        assert api.get("/decisions").json()["decisions"] == []
        assert "removed" not in api.post(f"/flags/{number}/claim").text
    wrong = bob.post(f"{where}/vote", {"action": "remove", "note": "kept"})
    assert wrong.status_code == 422
    assert "choose a reason" in wrong.text
    assert "kept" in wrong.text
    assert bob.post(f"{where}/vote", REMOVE).headers["location"] == where
    page = bob.get(where).text
    assert "The earlier decision was: removed. You voted to remove." in page
    assert "secret note" in bob.get(f"/flags/{number}").text
    assert _events(console) == []


def test_a_second_look_is_for_its_holder_alone(console: ConsoleServer) -> None:
    number = decided(console)
    where = console.client("bob").post("/next").headers["location"]
    ann, cat = console.client("ann"), console.client("cat")
    for person in (ann, cat):
        assert person.get(where).status_code == 409
        assert person.post(f"{where}/vote", REMOVE).status_code == 409
        assert person.post(f"{where}/renew").status_code == 409
        assert person.post("/next").headers["location"].startswith("/?")
    assert ann.get(f"/flags/{number}").status_code == 200, "it is her own decision"
    assert "hidden until then" in cat.get(f"/flags/{number}").text
    assert console.client("vic", "viewer").get(f"/flags/{number}").status_code == 200


def test_a_lead_settles_what_two_disagree_on_and_sees_how_far_people_agree(
    console: ConsoleServer,
) -> None:
    number = decided(console)
    bob, eve = console.client("bob"), console.client("eve", "lead")
    where = bob.post("/next").headers["location"]
    bob.post(f"{where}/vote", {"action": "approve"})
    assert "a lead will settle the disagreement" in bob.get(where).text
    assert eve.post("/next").headers["location"] == where
    page = eve.get(where).text
    assert "<h1>Disagreement</h1>" in page
    for told in TELLING:
        assert told not in page.replace("Hate speech", ""), told
    eve.post(f"{where}/vote", REMOVE)
    with transaction(console.database, read_only=True) as connection:
        (look,) = reviews.of_flag(connection, number)
        assert (look.state, look.outcome) == ("decided", "remove")
    insight = eve.get("/insight").text
    assert "0 of 1 agreed" in insight
    assert "ann and bob" in insight
    assert "ann and bob" not in bob.get("/insight").text
    headers = console.token("eve", "agreement:read", role="lead")
    told = httpx.get(f"{console.url}/api/v1/agreement", headers=headers).json()
    assert (told["looks"], told["same"], told["queues"][0]["name"]) == (1, 0, "negative")
    assert told["pairs"][0]["kappa"] == 0.0


def test_the_platform_appeals_and_hears_the_outcome(console: ConsoleServer) -> None:
    number = decided(console, share=0.0)
    headers = console.token("platform", "flags:appeal")
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=headers) as api:
        made = api.post(f"/flags/{number}/appeal", json={"why": "it was <b>a joke</b>"})
        assert made.status_code == 201
        assert made.json()["flag_id"] == number
        assert api.post(f"/flags/{number}/appeal").json()["id"] == made.json()["id"]
        waiting = flagged(console, "p2")
        refused = api.post(f"/flags/{waiting}/appeal")
        assert refused.status_code == 409
        assert "nobody has decided" in refused.json()["detail"]
    ann, bob = console.client("ann"), console.client("bob")
    assert ann.post("/next").headers["location"] == f"/flags/{waiting}", "she decided it"
    where = bob.post("/next").headers["location"]
    page = bob.get(where).text
    assert "Appeal" in page
    assert "it was &lt;b&gt;a joke&lt;/b&gt;" in page
    assert "secret note" not in page
    bob.post(f"{where}/vote", {"action": "approve"})
    assert "Your vote is now the decision." in bob.get(where).text
    assert _events(console) == ["approve"]
    with transaction(console.database, read_only=True) as connection:
        assert worklist.one(connection, number).outcome == "approve"


def test_a_lead_reopens_a_flag_for_somebody_else_and_marks_known_answers(
    console: ConsoleServer,
) -> None:
    number = decided(console, share=0.0)
    eve, bob = console.client("eve", "lead"), console.client("bob")
    assert "Open appeal" in eve.get(f"/flags/{number}").text
    assert "Open appeal" not in bob.get(f"/flags/{number}").text
    eve.post(f"/flags/{number}/appeal", {"why": "please"})
    assert "An appeal is waiting" in eve.get(f"/flags/{number}").text
    eve.post(f"/flags/{number}/known-answer", {"action": "remove"})
    with transaction(console.database, read_only=True) as connection:
        known = known_answers.of_flag(connection, number)
    assert known is not None
    assert known.action == "remove"
    too_long = {"action": "remove", "why": "a" * 2001}
    assert eve.post(f"/flags/{number}/known-answer", too_long).status_code == 422
    assert eve.post(f"/flags/{number}/known-answer", {"action": "skip"}).status_code == 422
    page = bob.get(bob.post("/next").headers["location"]).text
    assert "please" in page


def test_a_known_answer_looks_like_any_second_look(
    tmp_path: Path, intake: Intake, database: Engine
) -> None:
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, known_answer_share=1.0) as console:
        number = decided(console, share=0.0)
        lead = console.person("eve", "lead")
        with transaction(database) as connection:
            known_answers.mark(connection, number, "approve", lead, why="it <b>quotes</b> him")
        bob, cat = console.client("bob"), console.client("cat")
        where = bob.post("/next").headers["location"]
        page = bob.get(where).text
        assert "Second look" in page
        assert "nown" not in page
        assert "quotes" not in page
        bob.post(f"{where}/vote", REMOVE)
        page = bob.get(where).text
        assert "The right answer is known: approve. You voted to remove." in page
        assert "it &lt;b&gt;quotes&lt;/b&gt; him" in page
        look = f"{console.url}/api/v1{where}"
        told = httpx.get(look, headers=console.token("bob", "reviews:vote")).json()
        assert told["lesson"] == {"right": "approve", "why": "it <b>quotes</b> him"}
        assert cat.get(where).status_code == 409, "it is told to nobody else"
        there = cat.post("/next").headers["location"]
        cat.post(f"{there}/vote", {"action": "approve"})
        page = cat.get(there).text
        assert "The earlier decision was: approved. You voted to approve." in page
        assert "quotes" not in page, "whoever knows learns nothing of it"
        assert bob.post("/next").headers["location"].startswith("/?")
        assert "0%" in bob.get("/insight").text
        assert "Known answers" not in console.client("dan").get("/insight").text
        assert "bob" in console.client("eve", "lead").get("/insight").text


def test_what_was_seen_this_hour_is_counted_once_and_suggests_a_break(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = datetime(2026, 5, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(exposures, "_hour", lambda now: hour)  # no hour ends in the middle
    hard = flagged(console)
    flag(console.database, "mild", negative=0.2)
    sha = console.store.put(b"\xff\xd8")
    bob = console.client("bob")
    assert "this hour" not in bob.get("/").text
    for path in (f"/flags/{hard}", f"/flags/{hard}", f"/flags/{hard + 1}", f"/evidence/{sha}"):
        bob.get(path)
    assert "1 seen<span> this hour</span><" in bob.get("/").text
    bob.post("/settings", {"pictures": "blur", "theme": "auto", "break_after": "1"})
    assert (
        "1 seen<span> this hour</span> · <strong>time for a short break?</strong>"
        in bob.get("/").text
    )
    bob.post("/settings", {"pictures": "blur", "theme": "auto", "break_after": "0"})
    assert "break?" not in bob.get("/").text
    assert bob.post("/settings", {"break_after": "-1"}).status_code == 422
    assert "this hour" not in console.client("cat").get("/").text, "only they see it"


def test_exposure_counts_uncovered_pictures_and_forgets_after_a_day(
    console: ConsoleServer,
) -> None:
    who, now = console.person("bob"), datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    for moment in (now, now + timedelta(minutes=5), now + timedelta(hours=1)):
        exposures.note(console.database, who, "picture", "evidence a", now=moment)
    exposures.note(console.database, who, "negative", "flag 1", now=now)

    def seen(moment: datetime) -> tuple[int, int]:
        with transaction(console.database, read_only=True) as connection:
            found = exposures.this_hour(connection, who, now=moment)
        return found.negative, found.pictures

    assert (seen(now), seen(now + timedelta(hours=1))) == ((1, 1), (0, 1))
    exposures.note(console.database, who, "negative", "flag 1", now=now + timedelta(hours=26))
    assert seen(now) == (0, 0)
    exposures.note(console.database, who, "picture", "evidence a", now=now)
    other = console.person("cat")
    exposures.note(console.database, other, "negative", "flag 1", now=now + timedelta(days=2))
    assert seen(now) == (0, 0), "what people saw who have left is forgotten too"


def test_a_lead_sees_what_is_to_be_settled_and_nothing_that_tells(console: ConsoleServer) -> None:
    where = disagreed(console)
    lead, other = console.client("lea", "lead"), console.client("leo", "lead")
    page = lead.get("/reviews").text
    assert "Disagreement <span" in page
    assert f'action="{where}/claim"' in page
    body = page.partition("<main")[2]
    for told in (*TELLING, "approved", "removed", "bob", "what a day", "p1"):
        assert told not in body, told
    assert lead.post(f"{where}/claim").headers["location"] == where
    assert "<h1>Disagreement</h1>" in lead.get(where).text
    assert f'href="{where}"' in lead.get("/reviews").text
    assert "claimed by lea" in other.get("/reviews").text
    answer = other.post(f"{where}/claim")
    assert answer.status_code == 409
    assert lead.post(f"{where}/vote", REMOVE).headers["location"] == where
    assert "Nothing to settle" in other.get("/reviews").text
    assert other.post(f"{where}/claim").status_code == 409


def test_who_had_a_part_in_it_cannot_settle_it(console: ConsoleServer) -> None:
    where = disagreed(console, by="lea", role="lead")
    lea = console.client("lea", "lead")
    page = lea.get("/reviews").text
    assert "you were involved" in page
    assert f"{where}/claim" not in page
    answer = lea.post(f"{where}/claim")
    assert (answer.status_code, "you had a part in this" in answer.text) == (409, True)


def test_appeals_wait_with_what_is_said_and_looks_of_the_sample_are_counted(
    console: ConsoleServer,
) -> None:
    number = decided(console)
    lead = console.client("lea", "lead")
    assert "1 other second look will go" in lead.get("/reviews").text
    with transaction(console.database, read_only=True) as connection:
        (sampled,) = reviews.of_flag(connection, number)
    # Not in the list, and yet a lead may take one that is known by its number.
    assert f"/reviews/{sampled.id}/claim" not in lead.get("/reviews").text
    lead.post(f"/flags/{number}/appeal", {"why": "it was <b>satire</b>"})
    page = lead.get("/reviews").text
    assert "Appeal" in page
    assert "it was &lt;b&gt;satire&lt;/b&gt;" in page


def test_a_known_answer_is_for_nobody_but_whom_it_was_made_for(console: ConsoleServer) -> None:
    number = decided(console, share=0.0)
    lea, bob = console.person("lea", "lead"), console.person("bob")
    with transaction(console.database) as connection:
        known_answers.mark(connection, number, "approve", lea)
        look = second_looks.take_next(
            connection, bob, claim_seconds=60, known_share=1.0, draw=lambda: 0.0
        )
    assert look is not None
    client = console.client("sid", "lead")
    assert "Nothing to settle" in client.get("/reviews").text
    assert client.post(f"/reviews/{look}/claim").status_code == 404


def test_a_program_takes_a_look_as_blind_as_a_page_and_votes_once(console: ConsoleServer) -> None:
    number = decided(console)
    scopes = ("reviews:vote", "flags:read", "verdicts:read")
    with httpx.Client(
        base_url=f"{console.url}/api/v1", headers=console.token("bob", *scopes)
    ) as api:
        # Also before it is taken: this token may yet be given it.
        assert api.get(f"/flags/{number}").status_code == 409
        assert api.get("/verdicts/p1").status_code == 409
        assert api.get("/reviews").json() == {"reviews": [], "next_before": None}
        taken = api.post("/claim-next-review", json={"queue": "negative"}).json()["review"]
        look = f"/reviews/{taken['id']}"
        shown = api.get(look)
        assert shown.json()["text"] == "what a day"
        assert (shown.json()["vote"], shown.json()["decided_before"]) == (None, None)
        for told in (*TELLING, "remove", "sample"):
            assert told not in shown.text, told
        assert api.get("/reviews").json()["reviews"] == [taken]
        assert api.post(f"{look}/renew").json()["review_id"] == taken["id"]
        assert api.post(f"{look}/vote", json={"action": "remove"}).status_code == 422
        key = {"Idempotency-Key": "k"}
        answers = [api.post(f"{look}/vote", json=REMOVE, headers=key) for _ in range(2)]
        assert [each.status_code for each in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["decided_before"] == "remove"
        assert answers[0].json()["vote"]["action"] == "remove"
        assert answers[0].json()["claim_expires_at"] is None
        assert api.post(f"{look}/vote", json={"action": "approve"}).status_code == 409
        assert api.get(f"/flags/{number}").json()["outcome"] == "remove"
        assert api.post("/claim-next-review").json() == {"review": None}
        assert [each["id"] for each in api.get("/reviews").json()["reviews"]] == [taken["id"]]
    with httpx.Client(
        base_url=f"{console.url}/api/v1", headers=console.token("eve", "reviews:vote")
    ) as api:
        assert api.get(look).status_code == 409
        assert api.post(f"{look}/vote", json=REMOVE).status_code == 409
        assert api.get("/reviews/999999").status_code == 404


def test_a_program_gives_a_look_back(console: ConsoleServer) -> None:
    decided(console)
    headers = console.token("bob", "reviews:vote")
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=headers) as api:
        number = api.post("/claim-next-review").json()["review"]["id"]
        assert api.post(f"/reviews/{number}/release").json() == {"review_id": number}
        assert api.get(f"/reviews/{number}").status_code == 409
        assert api.post("/claim-next-review").json()["review"]["id"] == number


def test_what_a_program_reads_counts_for_its_moderator_while_it_is_in_their_hands(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = exposures._hour(None)
    monkeypatch.setattr(exposures, "_hour", lambda now: hour)  # no hour ends in the middle
    number = flag(console.database, "bad", negative=0.9)
    mild = flag(console.database, "mild", negative=0.2)
    headers = console.token("bea", "flags:read", "flags:decide", "reviews:vote")
    http = console.client().http

    def seen() -> int:
        with transaction(console.database, read_only=True) as connection:
            return exposures.this_hour(connection, console.person("bea")).negative

    def read(path: str) -> int:
        return http.get(f"/api/v1{path}", headers=headers).status_code

    def done(path: str, **body: object) -> int:
        return http.post(f"/api/v1{path}", json=body, headers=headers).status_code

    assert read("/flags") == read(f"/flags/{number}") == 200
    assert seen() == 0, "neither lists nor what nobody holds"
    assert done(f"/flags/{number}/claim") == done(f"/flags/{mild}/claim") == 200
    assert read(f"/flags/{number}") == read(f"/flags/{number}") == read(f"/flags/{mild}") == 200
    assert seen() == 1
    look = flag(console.database, "looked at twice", negative=0.8)
    ann, bea, lea = (console.person("ann"), console.person("bea"), console.person("lea", "lead"))
    with transaction(console.database) as connection:
        decisions.decide(connection, look, ann, Said("approve"))
        second_looks.appeal(connection, look, actor=lea, why=None)
        got = second_looks.take_next(connection, bea, claim_seconds=60)
    assert read(f"/reviews/{got}") == 200
    assert seen() == 2
    assert done(f"/reviews/{got}/vote", action="approve") == 201
    assert read(f"/reviews/{got}") == 200
    assert seen() == 2
