"""A look at an unflagged post cannot be told from a flag shown blind until it is decided."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from storage.base.database import transaction
from storage.judging.outcomes import record
from storage.judging.values import NewFlag
from tests.console_data import reason, verdict
from tests.console_server import ConsoleServer

TELLING = ("Very negative", "0.87", "0.11", "Pictures alone", "Not flagged", "drawn at random")


NOW = datetime.now(UTC)


def blind(console: ConsoleServer, post_id: str, *, drawn: bool, hours: int = 2) -> int:
    """A post to be decided blind: drawn at random, or flagged."""
    why = [] if drawn else [reason("very-negative", "sentiment.negative", 0.6, 0.87)]
    share = 0.125 if drawn else None
    flag = NewFlag("words", 30, why, text="what a day", inclusion=share, blind=True)
    judged = verdict(post_id, negative=0.11 if drawn else 0.87, author="ann")
    object.__setattr__(judged, "flag", flag)
    with transaction(console.database) as connection:
        return record(
            connection, verdicts=[judged], now=NOW - timedelta(hours=hours)
        ).opened_flag_ids[post_id]


def page(client: httpx.Client, number: int) -> str:
    """A flag's page without what is every flag's own: its id and its post's."""
    found = re.sub(r"post-(flagged|drawn)", "post", client.get(f"/flags/{number}").text)
    found = re.sub(r"/flags/\d+", "/flags/N", found)
    return re.sub(r'name="verdict_id" value="\d+"', "", found)


def test_a_look_and_a_blind_flag_have_the_same_page(console: ConsoleServer) -> None:
    flagged = blind(console, "post-flagged", drawn=False)
    drawn = blind(console, "post-drawn", drawn=True)
    bob = console.client("bob")
    shown = page(bob, drawn)
    assert "decided blind" in shown
    assert not [words for words in TELLING if words in shown]
    times = r"<time[^>]*>[^<]*</time>|this hour: [0-9]+ negative|>[0-9]+ seen"
    assert re.sub(times, "", shown) == re.sub(times, "", page(bob, flagged))
    listed = bob.get("/").text
    assert listed.count(">Blind<") == 2
    assert ">Not flagged<" not in listed
    assert "Very negative" not in listed.split("<ol")[1]
    assert bob.get("/author?name=ann").text.count(">Blind<") == 2
    # neither a score nor a rule finds them
    assert "/flags/" not in bob.get("/?negative=0.05").text
    assert "/flags/" not in bob.get("/?rule=very-negative").text
    assert (
        bob.post("/bulk", {"flag": [flagged, drawn], "action": "approve"}).text.count(">Blind<")
        == 2
    )


def test_leads_see_why_and_so_does_everybody_afterwards(console: ConsoleServer) -> None:
    drawn = blind(console, "post-drawn", drawn=True)
    lead, bob = console.client("eve", "lead"), console.client("bob")
    assert "1 in 8 such posts" in page(lead, drawn)
    assert ">Not flagged<" in lead.get("/").text
    bob.post(f"/flags/{drawn}/claim")
    bob.post(f"/flags/{drawn}/decide", {"action": "approve"})
    assert "1 in 8 such posts" in page(bob, drawn)


@pytest.mark.parametrize(("role", "found"), [("moderator", False), ("lead", True)])
def test_the_api_gives_looks_to_leads_alone(console: ConsoleServer, role: str, found: bool) -> None:
    drawn = blind(console, "post-drawn", drawn=True)
    token = console.token("program", "flags:read", "flags:decide", role=role)
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=token) as api:
        assert bool(api.get("/flags").json()["flags"]) is found
        assert (api.get(f"/flags/{drawn}").status_code == 200) is found
        assert (api.post("/claim-next").json()["flag_id"] == drawn) is found


def test_a_lead_sees_what_is_missed_and_nobody_else_does(console: ConsoleServer) -> None:
    lead, bob = console.client("eve", "lead"), console.client("bob")
    console.app.state.insight.patience_seconds = 30
    assert "DEADPAN_AUDIT_SHARE" in lead.get("/recall?days=90").text
    blind(console, "first", drawn=True, hours=3)
    missed = blind(console, "missed", drawn=True)
    flagged = blind(console, "flagged", drawn=False)
    for number in (missed, flagged):
        bob.post(f"/flags/{number}/claim")
        bob.post(f"/flags/{number}/decide", {"action": "remove", "reason_code": "hate"})
    page = lead.get("/recall?days=30").text
    # one flag was right, and one look, which stands for eight posts, found a missed one
    assert "about 11% were flagged" in page
    assert "Some 8 were missed" in page
    assert f"/flags/{missed}" in page
    assert f"/flags/{flagged}" not in page
    assert bob.get("/recall").status_code == 403
