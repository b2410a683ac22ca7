"""A second look in a real browser: by keys, and blind until the vote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.reviews import known_answers, reviews, second_looks
from tests.browser.conftest import People
from tests.browser.fit import misfits
from tests.browser.test_looks import look_with_axe
from tests.console_server import ConsoleServer


def test_a_second_look_is_blind_until_the_vote_and_needs_no_mouse(
    people: People, console: ConsoleServer
) -> None:
    ann, past = console.person("ann"), datetime.now(UTC) - timedelta(minutes=2)
    with transaction(console.database) as connection:
        said = Said("remove", "hate", note="what ann wrote")
        decisions.decide(connection, 1, ann, said, now=past, second_looks=Sampling(1.0))
    page = people.page("bob", viewport={"width": 390, "height": 844})
    page.goto("/history")
    expect(page.get_by_text("what ann wrote")).to_have_count(0)
    page.goto("/")
    page.keyboard.press("n")
    page.wait_for_url("**/reviews/*")
    here = page.url
    expect(page.get_by_text("Living my best life")).to_be_visible()
    expect(page.locator("[data-countdown]")).to_contain_text("Claimed by you")
    for hidden in ("0.91", "what ann wrote", "mini-1", "removed"):
        expect(page.locator("main").get_by_text(hidden)).to_have_count(0)
    expect(page.locator("mark, .regions, .bar")).to_have_count(0)
    look_with_axe(page, "second look")
    overflow = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
    page.keyboard.press("p")
    page.wait_for_selector("figure.show")
    page.goto("/flags/1")  # the way around is closed
    page.wait_for_url("**/reviews/*")
    page.keyboard.press("r")
    expect(page.locator("#codes input").first).to_be_focused()
    page.keyboard.press("1")
    expect(
        page.get_by_text("The earlier decision was: removed. You voted to remove.")
    ).to_be_visible()
    assert page.url == here
    look_with_axe(page, "after the vote")
    page.get_by_role("link", name="See why it was flagged").click()
    expect(page.get_by_text("what ann wrote")).to_be_visible()
    with transaction(console.database) as connection:
        (look,) = reviews.of_flag(connection, 1)
        assert (look.state, look.outcome) == ("decided", "remove")


def test_whoever_misses_a_known_answer_reads_afterwards_what_was_right_and_why(
    people: People, console: ConsoleServer
) -> None:
    ann, eve, bob = console.person("ann"), console.person("eve", "lead"), console.person("bob")
    with transaction(console.database) as connection:
        decisions.decide(connection, 1, ann, Said("remove", "hate"))
        known_answers.mark(connection, 1, "approve", eve, why="It is about a tap, not a person.")
        look = second_looks.take_next(connection, bob, claim_seconds=300, known_share=1.0)
    page = people.page("bob", viewport={"width": 390, "height": 844})
    page.goto(f"/reviews/{look}")
    expect(page.locator("main").get_by_text("known")).to_have_count(0)
    expect(page.get_by_text("It is about a tap")).to_have_count(0)
    page.keyboard.press("r")
    page.keyboard.press("1")
    expect(page.get_by_text("The right answer is known: approve.")).to_be_visible()
    expect(page.get_by_text("It is about a tap, not a person.")).to_be_visible()
    look_with_axe(page, "a lesson")
    assert misfits(page) == []
    page.goto("/insight")
    page.get_by_role("link", name="1001").click()
    expect(page.get_by_text("It is about a tap, not a person.")).to_be_visible()
