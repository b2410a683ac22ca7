"""The JSON API over real HTTP, and against its own OpenAPI document."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.judging.outcomes import record
from storage.judging.values import GonePost, NewDeadLetter
from storage.people.tokens import SCOPES
from tasks.intake.intake import Intake
from tests.console_data import flag
from tests.console_server import ConsoleServer


@pytest.fixture
def api(console: ConsoleServer) -> Iterator[httpx.Client]:
    headers = console.token("eve", *SCOPES, role="lead")
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=headers, timeout=30) as client:
        yield client


def test_it_answers_for_one_post_and_takes_new_ones(
    api: httpx.Client, console: ConsoleServer, intake: Intake
) -> None:
    flag(console.database, "post/42 ünï", sarcasm=0.8)
    with transaction(console.database) as connection:
        record(connection, verdicts=[], gone=[GonePost("away", "404")])
    told = api.get("/verdicts/" + urllib.parse.quote("post/42 ünï", safe="")).json()
    assert (told["outcome"], told["verdict"]["sarcasm"]) == ("judged", 0.8)
    # judged by a model that was not asked
    assert (told["verdict"]["offensive"], told["verdict"]["hateful"]) == (None, None)
    flag(console.database, "rude", offensive=0.9, hateful=0.2)
    told = api.get("/verdicts/rude").json()["verdict"]
    assert (told["offensive"], told["hateful"]) == (0.9, 0.2)
    assert api.get("/verdicts/away").json()["outcome"] == "gone"
    assert api.get("/verdicts/unknown").status_code == 404
    answer = api.post("/posts", json={"post_ids": ["1", "2"], "priority": "high"})
    assert (answer.status_code, answer.json()) == (202, {"pushed": 2})
    assert intake.client.lrange("deadpan:posts:high", 0, -1) == [b"1", b"2"]
    answer = api.post("/posts", json={"post_ids": ["a\nb"]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "control character" in answer.json()["detail"]


def test_a_program_works_a_flag(api: httpx.Client, console: ConsoleServer) -> None:
    number = flag(console.database, "p1", offensive=0.9)
    claimed = api.post("/claim-next", json={}).json()
    assert claimed["flag_id"] == number
    assert api.post(f"/flags/{number}/renew").json()["claim_expires_at"]
    assert api.get(f"/flags/{number}").json()["claimed_by"] == "eve"
    assert api.post(f"/flags/{number}/release").json() == {"flag_id": number}
    assert api.post(f"/flags/{number}/decision", json={"action": "remove"}).status_code == 422
    said = {"action": "remove", "reason_code": "hate", "sarcastic": True, "offensive": True}
    made = api.post(f"/flags/{number}/decision", json=said)
    assert made.status_code == 201
    assert [made.json()[f"agrees_{name}"] for name in ("sarcasm", "offensive")] == [False, True]
    taken = api.post(f"/flags/{number}/claim")
    assert taken.status_code == 409
    assert taken.json()["detail"] == "somebody was faster: this flag was removed"
    undone = api.post(f"/decisions/{made.json()['id']}/undo").json()
    assert undone["undoes"] == made.json()["id"]
    assert [d["action"] for d in api.get("/decisions").json()["decisions"]] == ["undo", "remove"]
    assert api.post("/claim-next").json()["flag_id"] == number
    api.post(f"/flags/{number}/decision", json=said)
    assert api.post("/claim-next").json() == {"flag_id": None, "claim_expires_at": None}


def test_flags_are_read_in_pages(api: httpx.Client, console: ConsoleServer) -> None:
    ids = [flag(console.database, f"p{number}", priority=number % 2) for number in range(7)]
    read: list[int] = []
    cursor: str | None = None
    while True:
        found = api.get("/flags", params={"limit": 3, **({"cursor": cursor} if cursor else {})})
        read += [each["id"] for each in found.json()["flags"]]
        cursor = found.json()["next_cursor"]
        if cursor is None:
            break
    assert sorted(read) == ids
    assert len(read) == 7
    assert api.get("/flags", params={"cursor": "nonsense"}).status_code == 422
    assert len(api.get("/flags", params={"state": "decided"}).json()["flags"]) == 0


def test_the_same_key_does_the_work_once(
    api: httpx.Client, console: ConsoleServer, intake: Intake
) -> None:
    headers = {"Idempotency-Key": "abc"}

    def push(_: int) -> httpx.Response:
        return api.post("/posts", json={"post_ids": ["1"]}, headers=headers)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(push, range(8)))
    assert {(each.status_code, each.text) for each in answers} == {(202, '{"pushed":1}')}
    assert intake.client.llen("deadpan:posts") == 1
    other = api.post("/posts", json={"post_ids": ["2"]}, headers=headers)
    assert other.status_code == 409
    number = flag(console.database, "p1")
    said = {"action": "remove", "reason_code": "hate"}
    headers = {"Idempotency-Key": "def"}
    made = [
        api.post(f"/flags/{number}/decision", json=said, headers=headers).json() for _ in range(3)
    ]
    assert made[0] == made[1] == made[2]
    with transaction(console.database, read_only=True) as connection:
        assert len(decisions.history(connection, limit=9)) == 1


def test_what_failed_may_be_tried_again_with_the_same_key(
    api: httpx.Client, console: ConsoleServer
) -> None:
    headers = {"Idempotency-Key": "k"}
    assert api.post("/flags/1/claim", headers=headers).status_code == 404
    number = flag(console.database, "p1")
    assert api.post(f"/flags/{number}/claim", headers=headers).status_code == 200


def test_dead_letters_are_listed_and_replayed_once(
    api: httpx.Client, console: ConsoleServer, intake: Intake
) -> None:
    with transaction(console.database) as connection:
        record(connection, verdicts=[], dead_letters=[NewDeadLetter("p1", "fetch", "boom", 5)])
    (letter,) = api.get("/dead-letters").json()["dead_letters"]
    assert api.post(f"/dead-letters/{letter['id']}/replay").json() == {"replayed": ["p1"]}
    assert intake.client.lrange("deadpan:posts", 0, -1) == [b"p1"]
    again = api.post(f"/dead-letters/{letter['id']}/replay")
    assert (again.status_code, "was replayed at" in again.json()["detail"]) == (422, True)
    assert api.get("/dead-letters").json()["dead_letters"] == []
    assert api.get("/audit").json()["entries"][0]["action"] == "dead-letter.replay"


def test_flags_are_listed_by_words_and_language(
    api: httpx.Client, console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag(console.database, "1", text="the tap drips", language="en-GB", priority=1)
    for number in range(2, 6):
        flag(console.database, str(number), text="der Hahn tropft", language="de", priority=9)

    def listed(**asked: str) -> list[str]:
        return [each["post_id"] for each in api.get("/flags", params=asked).json()["flags"]]

    assert listed(words="TAP dr") == ["1"]
    assert listed(words="hahn", language="de", limit="2") == ["2", "3"]
    assert listed(words="hahn", language="en") == []
    assert api.get("/flags", params={"language": "en"}).json()["flags"][0]["language"] == "en"
    assert api.get("/flags", params={"language": "e"}).status_code == 422
    assert api.get("/flags", params={"words": "x" * 257}).status_code == 422
    monkeypatch.setattr(worklist, "SEARCHED_AT_ONCE", 3)
    page = api.get("/flags", params={"words": "tap"}).json()
    assert page["flags"] == []
    page = api.get("/flags", params={"words": "tap", "cursor": page["next_cursor"]}).json()
    assert ([each["post_id"] for each in page["flags"]], page["next_cursor"]) == (["1"], None)


# Once is enough, on the database that takes less of what it should not get.
@pytest.mark.long
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_api_keeps_its_own_document(console: ConsoleServer, tmp_path: Path) -> None:
    for number in range(5):
        flag(console.database, f"p{number}")
    with transaction(console.database) as connection:
        record(connection, verdicts=[], dead_letters=[NewDeadLetter("d1", "fetch", "boom", 5)])
    header = console.token("eve", *SCOPES, role="lead")["Authorization"]
    command = [
        *[sys.executable, "-m", "schemathesis.cli", "run"],
        f"{console.url}/api/v1/openapi.json",
        *["--header", f"Authorization: {header}"],
        *["--max-examples", "8", "--seed", "7", "--workers", "1"],
        *["--phases", "examples,coverage,fuzzing", "--generation-database", "none"],
        # Which ids and reason codes are valid is not for a schema to say: 422 is a right answer.
        *["--exclude-checks", "positive_data_acceptance"],
        *["--no-color", "--suppress-health-check", "all"],
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=270)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_method_that_is_not_there_is_told_all_that_are(
    api: httpx.Client, console: ConsoleServer
) -> None:
    answer = api.patch("/flags/1/comments")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"
