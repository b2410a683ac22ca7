"""Two who disagree, and appeals, over real HTTP: what a vote does, and who finishes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.flags import worklist
from storage.judging.evidence import EvidenceStore
from storage.reviews import reviews
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, serving
from tests.integration.console.second_looks import disagreed


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, second_review_share=1.0, report_decisions=True) as server:
        yield server


def _team_of_three_disagrees(console: ConsoleServer) -> tuple[int, str]:
    """Ann removes, bob would approve, and lea settles for bob: nobody is left without a part."""
    where = disagreed(console)
    lea = console.client("lea", "lead")
    lea.post(f"{where}/claim")
    assert lea.post(f"{where}/vote", {"action": "approve"}).headers["location"] == where
    with transaction(console.database, read_only=True) as connection:
        return reviews.by_id(connection, int(where.rpartition("/")[2])).flag_id, where


def test_who_settles_is_told_what_the_vote_does_and_opens_an_appeal_there(
    console: ConsoleServer,
) -> None:
    number, where = _team_of_three_disagrees(console)
    lea = console.client("lea", "lead")
    page = lea.get(where).text
    assert "You voted to approve" in page
    assert "You approved it" not in page, "the flag is as it was"
    assert "this post stays removed" in page
    assert f'action="/flags/{number}/appeal"' in page
    assert lea.post(f"/flags/{number}/appeal", {"why": "satire"}).status_code == 303
    page = lea.get(where).text
    assert "An appeal is waiting for someone else" in page
    assert f'action="/flags/{number}/appeal"' not in page


def test_a_team_of_three_finishes_an_appeal(console: ConsoleServer) -> None:
    number, _ = _team_of_three_disagrees(console)
    lea, ann, bob = console.client("lea", "lead"), console.client("ann"), console.client("bob")
    console.person("vic", "viewer")  # who decides nothing
    lea.post(f"/flags/{number}/appeal")
    assert "/reviews/" not in ann.post("/next").headers["location"], "it is about her decision"
    look = bob.post("/next").headers["location"]
    assert "Appeal" in bob.get(look).text
    assert bob.post(f"{look}/vote", {"action": "approve"}).status_code == 303
    page = bob.get(look).text
    assert "You voted to approve" in page
    assert "now the decision" in page
    with transaction(console.database, read_only=True) as connection:
        assert worklist.one(connection, number).outcome == "approve"


def test_an_appeal_is_for_who_had_no_part_while_there_is_one(console: ConsoleServer) -> None:
    number, _ = _team_of_three_disagrees(console)
    dan = console.client("dan")
    console.client("lea", "lead").post(f"/flags/{number}/appeal")
    assert "/reviews/" not in console.client("bob").post("/next").headers["location"]
    assert "/reviews/" in dan.post("/next").headers["location"]


def test_what_no_lead_can_settle_ends_with_an_appeal(console: ConsoleServer) -> None:
    where = disagreed(console, by="lea", role="lead")
    lea, dan = console.client("lea", "lead"), console.client("dan")
    with transaction(console.database, read_only=True) as connection:
        number = reviews.by_id(connection, int(where.rpartition("/")[2])).flag_id
    assert f"/flags/{number}#looks" in lea.get("/reviews").text
    lea.post(f"/flags/{number}/appeal")
    page = lea.get("/reviews").text
    assert "Disagreement <span" not in page, "one question is enough"
    assert "Appeal" in page
    look = dan.post("/next").headers["location"]
    assert dan.post(f"{look}/vote", {"action": "approve"}).status_code == 303
    assert "Nothing to settle" in lea.get("/reviews").text
