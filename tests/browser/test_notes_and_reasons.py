"""What a moderator typed and chose: kept for its flag, saved with nothing else, left to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from console.web.access import COOKIE
from storage.base.database import transaction
from storage.flags import claims, decisions
from storage.flags.decisions import Said
from storage.people import moderators
from tests.browser.conftest import People
from tests.browser.test_looks import look_with_axe
from tests.console_server import ConsoleServer


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The same with every database."""
    return f"sqlite:///{tmp_path}/deadpan.db"


def _made(console: ConsoleServer) -> list[decisions.Decision]:
    with transaction(console.database, read_only=True) as connection:
        return decisions.history(connection, limit=100)


def _note(page: Page, flag: int, words: str) -> None:
    page.goto(f"/flags/{flag}")
    page.get_by_label("Note").fill(words)


def test_a_note_stays_with_its_flag_until_that_flag_is_decided(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    _note(page, 2, "of the second")
    _note(page, 3, "of the third")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_url("**after=1*")
    page.goto("/flags/2")
    expect(page.get_by_label("Note")).to_have_value("of the second")
    # Refused: the page of the refusal goes on with the same draft.
    with transaction(console.database) as connection:
        bob = moderators.add(connection, "bob", "moderator", actor="test")
        claims.claim(connection, 2, bob, claim_seconds=300)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("[data-kept]")).to_contain_text("of the second")
    with transaction(console.database) as connection:
        claims.release(connection, 2, bob)
    page.goto("/flags/2")
    expect(page.get_by_label("Note")).to_have_value("of the second")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_url("**after=2*")
    page.keyboard.press("u")
    expect(page.locator("[data-countdown]")).to_be_visible()
    expect(page.get_by_label("Note")).to_have_value("")
    assert [each.note for each in _made(console)] == [None, "of the second", "of the third"]
    assert page.evaluate("Object.keys(sessionStorage)") == []


def test_a_note_is_never_shown_to_whoever_comes_next(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    _note(page, 2, "what ann thinks of this author")
    other = page.context.new_page()
    _note(other, 3, "and of that one")
    # Her session ends without her signing out, and bob sits down.
    page.context.add_cookies(
        [{"name": COOKIE, "value": console.session("bob"), "url": console.url}]
    )
    page.goto("/flags/2")
    expect(page.get_by_label("Note")).to_have_value("")
    assert page.evaluate("Object.keys(sessionStorage)") == []
    _note(page, 2, "what bob thinks")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in*")
    assert page.evaluate("Object.keys(sessionStorage)") == []
    # In her other tab, too.
    expect(other.get_by_label("Note")).to_have_value("")
    assert other.evaluate("Object.keys(sessionStorage)") == []


def test_a_reason_goes_with_removing_alone_and_escape_clears_it(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    chosen = page.locator("[data-chosen]")
    expect(chosen).to_be_hidden()
    page.keyboard.press("3")
    expect(chosen).to_contain_text("Saved if you remove or escalate: Violence or threats.")
    expect(chosen).to_contain_text("Not saved if you approve or skip")
    look_with_axe(page, "a reason is chosen")
    page.keyboard.press("Escape")
    expect(chosen).to_be_hidden()
    expect(page.locator("#codes input:checked")).to_have_count(0)
    page.keyboard.press("3")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#codes input:checked")).to_have_count(0)
    page.keyboard.press("3")
    page.keyboard.press("a")
    page.wait_for_url("**after=1*")
    page.keyboard.press("r")
    page.keyboard.press("Escape")  # thought better of it
    page.keyboard.press("3")
    expect(chosen).to_be_visible()
    assert len(_made(console)) == 1, "what was begun and left is not sent by a number"
    page.keyboard.press("r")
    page.wait_for_url("**after=2*")
    page.keyboard.press("3")
    page.keyboard.press("s")
    page.wait_for_url("**after=3*")
    said = [(each.action, each.reason_code) for each in reversed(_made(console))]
    assert said == [("approve", None), ("remove", "violence"), ("skip", None)]


def test_labels_have_keys_that_say_and_take_back(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    for key, label in (("-", "Negative"), ("0", "Neutral"), ("+", "Positive"), ("=", "Positive")):
        page.keyboard.press(key)
        box = page.get_by_role("radio", name=label)
        expect(box).to_be_checked(checked=key != "=")  # the same again takes it back
    page.keyboard.press("l")
    page.keyboard.press("i")
    page.keyboard.press("+")
    expect(page.locator("#said")).to_have_text("positive")
    page.keyboard.press("t")
    page.keyboard.type("0 i -")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.wait_for_url("**after=1*")
    (made,) = _made(console)
    assert (made.sentiment, made.sarcastic, made.note) == ("positive", True, "0 i -")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    for words in (
        "label it negative, neutral, positive",
        "label it sarcastic",
        "select all",
        "confirm a bulk decision",
    ):
        expect(keys).to_contain_text(words)


def test_what_a_moderator_asks_a_lead_stands_on_top_of_the_page(
    people: People, console: ConsoleServer
) -> None:
    ann = console.person("ann")
    with transaction(console.database) as connection:
        decisions.decide(connection, 4, ann, Said("escalate", "violence", "first thoughts"))
        decisions.undo(connection, _latest(connection), ann, claim_seconds=300)
        decisions.decide(connection, 4, ann, Said("escalate", "hate", "Is this a quote?"))
    page = people.page("lea", "lead", viewport={"width": 390, "height": 844})
    page.goto("/?state=escalated")
    page.keyboard.press("n")
    page.wait_for_url("**/flags/4*")
    asked = page.locator(".left > section").first
    expect(asked).to_contain_text("Escalated by ann: Hate speech")
    expect(asked).to_contain_text("Is this a quote?")
    expect(asked).not_to_contain_text("first thoughts")
    expect(asked.locator("q")).to_be_in_viewport()
    look_with_axe(page, "an escalated flag")
    page.keyboard.press("a")
    page.wait_for_url("**after=*")
    page.goto("/flags/4")
    expect(page.locator("#asked-title")).to_have_count(0)


def _latest(connection: object) -> int:
    return decisions.history(connection, limit=1)[0].id  # type: ignore[arg-type]


def test_who_is_beaten_to_a_claim_goes_on_with_the_next_flag(
    people: People, console: ConsoleServer
) -> None:
    ann, bob = people.page("ann"), people.page("bob")
    for page in (ann, bob):
        page.goto("/?queue=negative&words=another")
        page.locator("[data-open]").first.click()
        page.wait_for_url("**/flags/8?*")
    ann.keyboard.press("c")
    expect(ann.locator("[data-countdown]")).to_be_visible()
    bob.keyboard.press("c")
    bob.wait_for_url("**/flags/9?*missed=8")
    assert "words%3Danother" in bob.url, "of the same list"
    expect(bob.locator("[data-lost]")).to_have_text(
        "ann claimed post 2000 first. Here is the next one."
    )
    expect(bob.locator("[data-countdown]")).to_be_visible()
    look_with_axe(bob, "beaten to a claim")
    # And where it was decided, or a page is left with nothing to do, there is a way on.
    ann.keyboard.press("a")
    ann.wait_for_url("**after=1*")
    eve = people.page("eve")
    eve.goto("/flags/9")
    eve.keyboard.press("n")
    eve.wait_for_url(lambda url: not url.endswith("/flags/9"))
    expect(eve.locator("[data-countdown]")).to_be_visible()


def test_the_last_flag_of_a_list_that_somebody_else_took_leads_back_to_it(
    people: People, console: ConsoleServer
) -> None:
    ann, bob = people.page("ann"), people.page("bob")
    for page in (ann, bob):
        page.goto("/?queue=several")
        page.locator("[data-open]").first.click()
        page.wait_for_url("**/flags/5?*")
    ann.keyboard.press("a")
    ann.wait_for_url("**after=1*")
    bob.keyboard.press("c")
    bob.wait_for_url("**missed=5*")
    expect(bob.locator("[data-lost]")).to_have_text("Post 1005 was decided a moment ago.")
