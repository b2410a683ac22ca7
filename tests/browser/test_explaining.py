"""A flag that is still being explained: its page says so, and goes on by itself."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.sync_api import expect
from sqlalchemy import update

from storage.base.database import transaction
from storage.flags import worklist
from storage.judging import explanations
from storage.judging.explanations import NewExplanation
from storage.tables import explanations as table
from tests.browser.conftest import People
from tests.browser.posts import FLOODED, explained, judged, regions
from tests.browser.test_looks import keep_picture, look_with_axe
from tests.console_server import ConsoleServer


def _beingexplained(console: ConsoleServer, post_id: str) -> int:
    flag_id = judged(
        console.database, console.store, post_id, FLOODED, ["flooded_kitchen.jpg"],
        queue="sarcasm", reasons=[{"rule": "sarcastic", "conditions": []}], sarcasm=0.91,
    )  # fmt: skip
    with transaction(console.database) as connection:
        verdict_id = worklist.one(connection, flag_id).verdict_id
        work = NewExplanation(flag_id, verdict_id, "sarcasm", "m", "c", 1)
        explanations.add(connection, [work], now=datetime.now(UTC))
    return flag_id


def _settle(console: ConsoleServer, flag_id: int, **values: object) -> None:
    with transaction(console.database) as connection:
        mine = table.c.flag_id == flag_id
        connection.execute(update(table).where(mine).values(**values))


def test_an_explanation_appears_by_itself_and_leaves_what_was_typed_and_uncovered(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    flag_id = _beingexplained(console, "4001")
    page.goto(f"/flags/{flag_id}")
    expect(page.locator("#read")).to_contain_text("Being explained")
    keep_picture(page, "being-explained")
    look_with_axe(page, "being explained")
    with transaction(console.database, read_only=True) as connection:
        assert connection.execute(table.select()).one().wanted_at is not None, "it comes first"
    page.locator("[data-note]").fill("look at the water")
    page.locator("[data-label-key='i']").check()
    page.locator("[data-toggle-pictures]").click()
    expect(page.locator("figure")).to_have_class("show")
    told = explained("sarcasm", FLOODED, {"best": 0.3}, regions(by_row=0.1, by_column=0.02))
    _settle(console, flag_id, state="done", explanation=told)
    expect(page.locator("mark.up").first).to_have_text("best")
    expect(page.locator("#read")).not_to_contain_text("Being explained")
    expect(page.locator("[data-note]")).to_have_value("look at the water")
    expect(page.locator("[data-label-key='i']")).to_be_checked()
    expect(page.locator("figure")).to_have_class("show")
    page.locator("[data-mark]").click()
    expect(page.locator("figure .regions rect").first).to_be_visible()
    expect(page.locator("#said")).to_have_text("what moved the score is explained now")


def test_a_flag_that_could_not_be_explained_says_why(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    flag_id = _beingexplained(console, "4002")
    page.goto(f"/flags/{flag_id}")
    why = "the model that judged it, mini-0, is run by no worker any more"
    _settle(console, flag_id, state="failed", error=why)
    expect(page.locator("#read")).to_contain_text(f"could not be explained: {why}")
    keep_picture(page, "not-explained")
