"""What is looked for in the queue is never lost; what cannot be read is said where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from storage.judging.evidence import EvidenceStore
from tasks.intake.intake import Intake
from tests import postgres
from tests.console_data import flag, reason
from tests.console_server import ConsoleServer, Person, serving

database_url = postgres.database_url

_WHOLE = "a1B2" * 64


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    """A console with flags of two rules and languages."""
    very = [reason("very-negative", "sentiment.negative", 0.85, 0.95)]
    flag(database, "p1", reasons=very, negative=0.95, language="de", author="zoe")
    flag(database, "p2", negative=0.8, author="zoe", offensive=0.9, hateful=0.3)
    flag(database, "p3", negative=0.5, sarcasm=0.9, queue="sarcasm")
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server


def _posts(answer: httpx.Response) -> set[str]:
    return set(re.findall(r"post <bdi>(p\d+)</bdi>", answer.text))


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("negative", "Very negative", "must be between 0 and 1, such as 0.8"),
        ("negative", "0,9,1", "must be between 0 and 1, such as 0.8"),
        ("negative", "nan", "must be between 0 and 1, such as 0.8"),
        ("sarcasm", "1.5", "must be between 0 and 1, such as 0.8"),
        ("offensive", "very", "must be between 0 and 1, such as 0.8"),
        ("hateful", "-0.1", "must be between 0 and 1, such as 0.8"),
        ("sarcasm", "90%", "must be between 0 and 1, such as 0.8"),
        ("language", "german", "use two or three letters"),
        ("due", "soon", "must be 'late', '1h', '8h' or '1d'"),
        ("age", "2w", "must be '1h', '8h', '1d' or '3d'"),
        ("state", "closed", "must be 'open', 'claimed', 'escalated' or 'decided'"),
        ("size", "7", "must be '100'"),
        ("cursor", "nowhere", "start again without one"),
    ],
)
def test_a_filter_that_cannot_be_read_is_said_beside_it_and_no_other_is_lost(
    console: ConsoleServer, name: str, given: str, said: str
) -> None:
    asked = {
        "queue": "negative",
        "author": "zoe",
        "words": "one two",
        "rule": "very-negative",
        "sarcasm": "0.1",
        name: given,
    }
    answer = console.client("ann").get("/", params=asked)
    assert answer.status_code == 422
    assert _posts(answer) == set(), "nothing is listed that was not asked for"
    assert 'action="/next"' not in answer.text
    plain = answer.text.replace("&#39;", "'")
    assert said in plain
    assert f"'{given}'" in plain
    if name not in ("state", "size", "cursor"):
        assert f'id="wrong-{name}"' in plain
        assert f'aria-describedby="wrong-{name}"' in plain
    for kept in ('value="zoe"', 'value="one two"', 'value="very-negative" selected'):
        assert kept in plain
    assert 'name="queue" value="negative"' in plain
    if name in ("negative", "sarcasm", "offensive", "hateful"):
        assert f'name="{name}" value="{given}"' in plain
    without = re.search(r'href="([^"]*)">Clear the invalid filters', answer.text)
    assert without
    again = console.client("ann").get(without[1].replace("&amp;", "&"))
    assert again.status_code == 200
    assert 'value="zoe"' in again.text


def test_several_filters_that_cannot_be_read_are_said_at_once(console: ConsoleServer) -> None:
    answer = console.client("ann").get("/?negative=much&sarcasm=little&language=x1")
    assert [f'id="wrong-{n}"' in answer.text for n in ("negative", "sarcasm", "language")] == [
        True
    ] * 3


@pytest.mark.parametrize("given", ["0,9", "0.9", ",9", " 0,90 "])
def test_a_share_is_read_with_a_comma_too(console: ConsoleServer, given: str) -> None:
    answer = console.client("ann").get("/", params={"negative": given})
    assert (answer.status_code, _posts(answer)) == (200, {"p1"})
    for name in ("offensive", "hateful"):  # of those that have such a score
        assert _posts(console.client("ann").get("/", params={name: "0,3"})) == {"p2"}
    ann: Person = console.client("ann")
    taken = ann.post("/next", {"filters": f"negative={given.strip()}"}).headers["location"]
    assert taken.startswith("/flags/1?")


def test_rules_and_languages_are_chosen_from_those_that_there_are(console: ConsoleServer) -> None:
    ann = console.client("ann")
    page = ann.get("/").text
    assert '<option value="very-negative">Very negative</option>' in page
    assert '<option value="de">de</option>' in page
    assert '<option value="und">unknown</option>' in page
    # As pages write it, and as the policy does.
    for name in ("very-negative", "Very negative", "VERY NEGATIVE"):
        assert _posts(ann.get("/", params={"rule": name})) == {"p1"}, name
    # One that no flag has any more is kept, and finds nothing.
    gone = ann.get("/", params={"rule": "long-gone"})
    assert (gone.status_code, _posts(gone)) == (200, set())
    assert '<option value="long-gone" selected>Long gone</option>' in gone.text


def test_what_was_just_done_is_no_reason_to_lose_a_page(console: ConsoleServer) -> None:
    ann = console.client("ann")
    for path in ("/?after=x&author=zoe", "/?missed=-1&author=zoe", f"/?after={'9' * 5000}"):
        assert ann.get(path).status_code == 200, path[:40]
    assert ann.get("/flags/1?after=x&missed=x").status_code == 200


def test_long_filters_go_from_flag_to_flag(console: ConsoleServer) -> None:
    name = "ф" * 256
    flag(console.database, "p4", author=name, language="de")
    ann = console.client("ann")
    page = ann.get("/", params={"author": name, "post": "p4", "words": "", "rule": ""}).text
    filters = re.search(r'name="filters" value="([^"]*)"', page)
    assert filters
    where = ann.post("/next", {"filters": filters[1].replace("&amp;", "&")}).headers["location"]
    assert where.startswith("/flags/4?")
    assert ann.get(where).status_code == 200
    fields = {"action": "approve", "filters": filters[1].replace("&amp;", "&")}
    assert ann.post("/flags/4/decide", fields).status_code == 303


def test_programs_are_told_the_value_and_the_remedy(console: ConsoleServer) -> None:
    token = console.token("ann", "flags:read", "flags:decide")

    def ask(**asked: str) -> tuple[int, str]:
        answer = httpx.get(f"{console.url}/api/v1/flags", headers=token, params=asked)
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["detail"]

    status, said = ask(language="german")
    assert (
        status,
        "language 'german' is invalid: use two or three letters" in said,
    ) == (
        422,
        True,
    )
    status, said = ask(state="closed")
    assert (status, "state 'closed' is invalid" in said, "'escalated'" in said) == (
        422,
        True,
        True,
    )
    status, said = ask(limit="many")
    assert (status, "limit 'many' is invalid" in said, "integer" in said) == (422, True, True)
    status, said = ask(cursor="nonsense")
    assert (status, "'nonsense'" in said, "start again without one" in said) == (422, True, True)
    answer = httpx.post(
        f"{console.url}/api/v1/claim-next", headers=token, json={"language": "german"}
    )
    assert (answer.status_code, "'german' is invalid: use two" in answer.json()["detail"]) == (
        422,
        True,
    )


def test_a_password_is_never_said_back(console: ConsoleServer) -> None:
    secret = "correct horse battery staple" * 50
    answer = console.client("ann").post("/sign-in", {"name": "ann", "password": secret})
    assert answer.status_code == 422
    assert "correct horse" not in answer.text


@pytest.mark.parametrize("path", ["/history?before=x", "/insight?days=1000", "/audit?before=0"])
def test_an_invalid_number_in_a_pages_address_is_explained_on_a_page_with_a_way_on(
    console: ConsoleServer, path: str
) -> None:
    lead = console.client("lea", "lead")
    answer = lead.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "This address is invalid" in answer.text
    assert "must be" in answer.text
    without = path.partition("?")[0]
    assert f'href="{without}"' in answer.text
    assert lead.get(without).status_code == 200
