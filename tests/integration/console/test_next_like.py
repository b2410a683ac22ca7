"""The next flag is one of the list that is open: its filters reach `Next`, in pages and the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.flags.worklist import Filter
from storage.judging.evidence import EvidenceStore
from storage.people.moderators import Moderator
from storage.reviews import second_looks
from tasks.intake.intake import Intake
from tests import postgres
from tests.console_data import flag, moderator, reason
from tests.console_server import ConsoleServer, Person, serving

database_url = postgres.database_url

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
APPROVE = Said("approve")


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server


@pytest.fixture
def ann(database: Engine) -> Moderator:
    with transaction(database) as connection:
        return moderator(connection, "ann")


def _next(database: Engine, who: Moderator, like: Filter, queue: str | None = None) -> str | None:
    """The post of the next flag, which is given back at once."""
    with transaction(database) as connection:
        got = claims.claim_next(connection, who, claim_seconds=60, queue=queue, like=like)
        if got is None:
            return None
        claims.release(connection, got, who)
        return worklist.one(connection, got).post_id


def test_each_filter_of_the_list_reaches_next(database: Engine, ann: Moderator) -> None:
    flag(database, "best", priority=99, language="en", now=NOW, negative=0.7, author="cyd")
    flag(database, "german", priority=5, language="de-AT", text="Der Keller", now=NOW)
    flag(database, "other queue", queue="sarcasm", language="de", priority=50, sarcasm=0.9)
    flag(database, "rule", priority=1, reasons=[reason("rare", "sarcasm", 0.1, 0.2)], negative=0.9)
    assert _next(database, ann, Filter()) == "best"
    assert _next(database, ann, Filter(language="de")) == "other queue"
    assert _next(database, ann, Filter(language="de"), queue="negative") == "german"
    assert _next(database, ann, Filter(language="und")) == "rule"
    assert _next(database, ann, Filter(words="keller")) == "german"
    assert _next(database, ann, Filter(rule="rare")) == "rule"
    assert _next(database, ann, Filter(author="cyd")) == "best"
    assert _next(database, ann, Filter(post_id="german")) == "german"
    assert _next(database, ann, Filter(negative=0.85)) == "rule"
    assert _next(database, ann, Filter(sarcasm=0.9)) == "other queue"
    assert _next(database, ann, Filter(sarcasm=0.9), queue="negative") is None
    assert _next(database, ann, Filter(opened_before=NOW + timedelta(hours=1))) == "best"
    assert _next(database, ann, Filter(language="fr")) is None
    assert _next(database, ann, Filter(states=("decided",))) == "best", "states are its own"


def test_it_looks_on_behind_those_that_were_skipped_and_searches_on(
    database: Engine, ann: Moderator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_OFFERED", 2)
    monkeypatch.setattr(worklist, "SEARCHED_AT_ONCE", 3)
    for number in range(12):
        flag(
            database,
            str(number),
            priority=20 - number,
            negative=0.9 if number in (1, 4, 10) else 0.6,
        )
    got = []
    for _ in range(4):
        with transaction(database) as connection:
            number = claims.claim_next(
                connection, ann, claim_seconds=60, queue="negative", like=Filter(negative=0.8)
            )
            if number is not None:
                got.append(worklist.one(connection, number).post_id)
                decisions.decide(connection, number, ann, Said("skip"))
    assert got == ["1", "4", "10"]


def test_of_many_who_ask_for_the_same_language_each_gets_another(database: Engine) -> None:
    wanted = [flag(database, str(n), language="de" if n % 2 else "en") for n in range(8)][1::2]
    with transaction(database) as connection:
        people = [moderator(connection, f"m{number}") for number in range(6)]

    def take(number: int) -> int | None:
        with transaction(database) as connection:
            who = people[number]
            return claims.claim_next(connection, who, claim_seconds=60, like=Filter(language="de"))

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(take, range(6)))
    assert sorted(each for each in got if each is not None) == sorted(wanted)


def test_a_second_look_is_in_the_language_that_is_asked_for(
    database: Engine, ann: Moderator
) -> None:
    with transaction(database) as connection:
        bob = moderator(connection, "bob")
    number = flag(database, "p", language="de")
    with transaction(database) as connection:
        decisions.decide(connection, number, ann, APPROVE, second_looks=Sampling(1.0, "k"))
    later = datetime.now(UTC) + timedelta(minutes=5)
    for language, is_given in (("en", False), ("de-AT", True)):
        with transaction(database) as connection:
            look = second_looks.take_next(
                connection, bob, claim_seconds=60, language=language, now=later
            )
        assert (look is not None) is is_given


def _fields(page: str, action: str) -> dict[str, str]:
    """What the form of an action carries."""
    form = re.search(rf'<form[^>]*action="{action}".*?</form>', page, re.S)
    assert form, page
    found = re.findall(r'type="hidden" name="(queue|filters)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in found}


def _address(answer: object) -> tuple[str, dict[str, str]]:
    parts = urlsplit(answer.headers["location"])  # type: ignore[attr-defined]
    return parts.path, dict(parse_qsl(parts.query))


def test_the_filters_of_the_page_go_with_a_moderator_from_flag_to_flag(
    console: ConsoleServer,
) -> None:
    flag(console.database, "english", priority=99, language="en")
    first = flag(console.database, "eins", language="de", priority=9)
    second = flag(console.database, "zwei", language="de", priority=8)
    ann: Person = console.client("ann")
    page = ann.get("/", params={"queue": "negative", "language": "de", "negative": "0.5"}).text
    assert f"/flags/{first}?queue=negative&amp;filters=language" in page
    path, shown = _address(ann.post("/next", _fields(page, "/next")))
    assert path == f"/flags/{first}"
    page = ann.get(path, params=shown).text
    fields = _fields(page, f"/flags/{first}/decide")
    assert fields == shown
    assert dict(parse_qsl(fields["filters"])) == {"language": "de", "negative": "0.5"}
    path, shown = _address(ann.post(f"/flags/{first}/decide", {**fields, "action": "approve"}))
    assert path == f"/flags/{second}"
    assert shown.pop("after")
    assert shown == fields
    path, shown = _address(ann.post(f"/flags/{second}/decide", {**shown, "action": "approve"}))
    assert path == "/"
    assert shown.pop("after")
    assert shown == {"queue": "negative", "language": "de", "negative": "0.5", "empty": "1"}
    assert "No matching flags for you right now" in ann.get(path, params=shown).text


def test_filters_that_are_none_are_said_before_anything_is_decided(console: ConsoleServer) -> None:
    number = flag(console.database, "p")
    ann = console.client("ann")
    for wrong in ("language=<b>", "negative=7", "nonsense", "a=1&" * 50 + "a=1"):
        assert ann.post("/next", {"filters": wrong}).status_code == 422, wrong
        fields = {"filters": wrong, "action": "approve"}
        assert ann.post(f"/flags/{number}/decide", fields).status_code == 422, wrong
    with transaction(console.database, read_only=True) as connection:
        assert worklist.one(connection, number).state == "open"


def test_programs_ask_for_the_next_like_it_too(console: ConsoleServer) -> None:
    flag(console.database, "english", priority=99, language="en")
    wanted = flag(console.database, "deutsch", language="de", text="Der Keller")
    person = console.client()
    headers = console.token("bot", "flags:decide", "reviews:vote")

    def ask(where: str = "claim-next", **body: str) -> tuple[int, object]:
        answer = person.http.post(f"/api/v1/{where}", json=body, headers=headers)
        return answer.status_code, answer.json().get("flag_id")

    assert ask(language="deutsch")[0] == 422
    assert ask(language="fr") == (200, None)
    assert ask(language="de", words="keller", queue="negative") == (200, wanted)
    assert ask("claim-next-review", language="de") == (200, None)
    assert ask("claim-next-review", words="x")[0] == 422
