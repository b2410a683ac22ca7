"""A moderator's shift in a real browser: by keys, against others, against the clock."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.worklist import Filter
from storage.people import audit, moderators
from tasks.intake.intake import Intake
from tests.browser.conftest import People
from tests.console_data import flag
from tests.console_server import ConsoleServer


def _made(console: ConsoleServer) -> list[decisions.Decision]:
    with transaction(console.database, read_only=True) as connection:
        return decisions.history(connection, limit=100)


def _open(console: ConsoleServer) -> int:
    with transaction(console.database, read_only=True) as connection:
        return len(worklist.page(connection, Filter(), limit=500))


def test_a_whole_shift_needs_no_mouse(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.wait_for_url("**/flags/*")
    first = page.url
    page.keyboard.press("a")
    page.wait_for_url("**after=1*")
    assert page.url != first
    page.keyboard.press("r")  # asks for a reason first
    expect(page.locator("#codes input").first).to_be_focused()
    page.keyboard.press("2")
    page.wait_for_url("**after=2*")
    page.keyboard.press("u")  # takes the removal back, and holds its flag again
    page.wait_for_url(re.compile(r"/flags/\d+$"))
    expect(page.locator("[data-countdown]")).to_contain_text("Claimed by you")
    page.keyboard.press("t")
    page.keyboard.type("says r and a, which are no keys here")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.press("9")
    page.wait_for_url("**after=4*")
    page.keyboard.press("s")
    page.wait_for_url("**after=5*")
    page.keyboard.press("q")
    page.wait_for_url(f"{console.url}/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-selected]")).to_have_text("1 selected")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url("**/flags/*")
    made = list(reversed(_made(console)))
    assert [each.action for each in made] == ["approve", "remove", "undo", "escalate", "skip"]
    assert [each.reason_code for each in made] == [None, "hate", None, "other", None]
    assert made[3].note == "says r and a, which are no keys here"


def test_keys_can_be_turned_off(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/settings")
    page.get_by_label("Keyboard shortcuts").uncheck()
    page.get_by_role("button", name="Save").click()
    page.goto("/flags/1")
    page.keyboard.press("a")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert _made(console) == []


def test_being_beaten_is_a_friendly_message_and_no_word_is_lost(
    people: People, console: ConsoleServer
) -> None:
    ann, bob = people.page("ann"), people.page("bob")
    ann.goto("/flags/2")
    bob.goto("/flags/2")
    bob.get_by_label("Note").fill("my own words")
    ann.keyboard.press("c")
    expect(ann.locator("[data-countdown]")).to_be_visible()
    bob.keyboard.press("Escape")
    bob.keyboard.press("a")
    expect(bob.get_by_role("alert")).to_contain_text("ann has claimed this flag")
    expect(bob.locator("[data-kept]")).to_contain_text("my own words")
    assert _made(console) == []


@pytest.mark.parametrize("claim_seconds", [10.0])
def test_a_claim_expires_under_a_moderators_hands(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    page.keyboard.press("c")
    expect(page.locator("[data-countdown]")).to_be_visible()
    # Somebody else has it by the time the page asks to renew.
    with transaction(console.database) as connection:
        bob = moderators.add(connection, "bob", "lead", actor="test")
        claims.release(connection, 2, bob)
        claims.claim(connection, 2, bob, claim_seconds=300)
    page.wait_for_timeout(2500)
    page.mouse.move(100, 100)
    page.mouse.move(200, 200)
    expect(page.locator("[data-over]")).to_contain_text(
        "Your claim has expired; bob has claimed this flag"
    )
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("bob has claimed this flag")
    assert _made(console) == []


@pytest.mark.parametrize("claim_seconds", [10.0])
def test_a_claim_is_renewed_while_its_moderator_is_active(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    page.keyboard.press("c")
    expect(page.locator("[data-countdown]")).to_be_visible()
    with page.expect_response("**/flags/2/renew") as renewed:
        for step in range(30):
            page.mouse.move(100 + step, 100)
            page.wait_for_timeout(150)
    assert renewed.value.status == 200


def test_a_double_click_and_the_back_button_decide_once(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    page.get_by_role("button", name="Approve").dblclick()
    page.wait_for_url("**after=1*")
    page.go_back()
    expect(page.locator(".state .pill")).to_have_text("approved")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert len(_made(console)) == 1
    with transaction(console.database, read_only=True) as connection:
        held = worklist.page(connection, Filter(states=("claimed",)), limit=9)
    assert len(held) == 1, "the second click has not taken another flag"


def test_pictures_are_blurred_until_they_are_asked_for(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/flags/1")
    page.wait_for_load_state("networkidle")
    pictures = [url for url in asked if "/evidence/" in url]
    assert pictures
    assert all(url.endswith("as=blur") for url in pictures)
    assert all(url.startswith(console.url) for url in asked), "nothing comes from elsewhere"
    image = page.locator(".frame")
    before = image.bounding_box()
    with page.expect_response(lambda response: response.url.endswith("as=full")):
        page.keyboard.press("p")
    expect(page.locator("figure.show")).to_be_visible()
    assert image.bounding_box() == before, "nothing jumps"
    with transaction(console.database, read_only=True) as connection:
        (entry,) = audit.read(connection, limit=5, action="picture.view")
    assert entry.actor == "ann"
    page.keyboard.press("m")
    expect(page.locator(".pictures.marked .regions")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator("figure.blur")).to_be_visible()


def test_many_are_decided_with_a_preview_and_one_undo(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/")
    for box in page.locator("[data-tick]").all()[:3]:
        box.check()
    expect(page.locator("[data-selected]")).to_have_text("3 selected")
    page.locator(".bulk select").select_option("spam")
    page.get_by_role("button", name="Remove…").click()
    expect(page.get_by_role("heading", name="Remove 3 flags?")).to_be_visible()
    assert _made(console) == []
    page.get_by_role("button", name="Remove 3").click()
    page.wait_for_url("**batch=*")
    expect(page.get_by_role("status").first).to_contain_text("3 flags")
    page.keyboard.press("u")
    page.wait_for_url(f"{console.url}/")
    assert [each.action for each in _made(console)] == ["undo"] * 3 + ["remove"] * 3


def test_a_reason_is_asked_for_where_one_is(people: People, console: ConsoleServer) -> None:
    """By mouse, and at once: what was held back for want of a reason was not sent."""
    page = people.page("ann")
    page.goto("/flags/2")
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))  # no timer ends while we look
    page.get_by_role("button", name="Remove").click()
    page.get_by_label("Spam or fraud").check()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**after=1*")
    page.goto("/")
    page.locator("[data-tick]").first.check()
    page.get_by_role("button", name="Remove…").click()
    expect(page.locator(".bulk select")).to_be_focused()
    page.locator(".bulk select").select_option("spam")
    page.get_by_role("button", name="Remove…").click()
    expect(page.get_by_role("heading", name="Remove 1 flag?")).to_be_visible()
    assert [each.reason_code for each in _made(console)] == ["spam"]


def test_offline_and_back_loses_nothing(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/flags/2")
    page.get_by_label("Note").fill("typed before the network went")
    page.context.set_offline(True)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_contain_text("You are offline. Nothing was sent")
    expect(page.get_by_label("Note")).to_have_value("typed before the network went")
    assert _made(console) == []
    page.context.set_offline(False)
    expect(page.locator("#trouble")).to_be_hidden()
    page.get_by_role("button", name="Approve").click()
    page.wait_for_url("**after=1*")
    assert [each.note for each in _made(console)] == ["typed before the network went"]
    assert problems == []


def test_pictures_are_shown_one_by_one(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/flags/5")
    page.get_by_role("button", name="Show picture 3").click()
    expect(page.locator("figure.show")).to_have_count(1)
    page.wait_for_load_state("networkidle")
    with transaction(console.database, read_only=True) as connection:
        assert len(audit.read(connection, limit=20, action="picture.view")) == 1
    page.keyboard.press("p")
    expect(page.locator("figure.show")).to_have_count(10)
    page.get_by_role("button", name="Cover picture 3").click()
    expect(page.locator("figure.show")).to_have_count(9)
    expect(page.get_by_role("link", name="Show all 10 pictures")).to_be_visible()


def test_new_flags_and_counts_come_without_a_reload(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.clock.install()
    page.goto("/")
    before = int(page.locator("[data-live]").inner_text())
    expect(page.locator("[data-fresh]")).to_be_hidden()
    flag(console.database, "just-in", queue="several")
    page.wait_for_timeout(2100)  # counts are at most two seconds old
    page.clock.run_for(11_000)
    expect(page.locator("[data-live]")).to_have_text(str(before + 1))
    expect(page.locator("[data-live-queue=several]")).to_have_text("2")
    expect(page.locator("[data-fresh]")).to_be_visible()


def test_an_empty_list_says_whether_posts_are_being_judged_and_fills_by_itself(
    people: People, console: ConsoleServer, intake: Intake
) -> None:
    page = people.page("ann")
    page.goto("/?queue=late&empty=1")
    expect(page.get_by_text("A good moment for a break")).to_be_visible()
    intake.enqueue(["just-pushed"])
    expect(page.get_by_text("Posts are being judged")).to_be_visible()
    expect(page.get_by_text("A good moment for a break")).to_be_hidden()
    page.get_by_role("textbox", name="Words").fill("half a word")
    flag(console.database, "just-in", queue="late")
    expect(page.locator("[data-fresh]")).to_be_visible()
    expect(page.get_by_role("textbox", name="Words")).to_have_value(
        "half a word"
    )  # not taken from who types
    page.get_by_role("textbox", name="Words").fill("")
    page.get_by_role("textbox", name="Words").blur()
    expect(page.locator("[data-row]")).to_have_count(1)
    assert page.url == f"{console.url}/?queue=late"


@pytest.mark.long
def test_eight_shifts_at_once_lose_nothing(console: ConsoleServer) -> None:
    """Without a browser, for speed: real HTTP, real sessions."""
    for number in range(40):
        flag(console.database, f"load{number}")
    waiting = _open(console)

    def shift(name: str) -> int:
        person, done = console.client(name), 0
        where = person.post("/next").headers["location"]
        while found := re.match(r"/flags/(\d+)", where):
            fields = {"action": "remove", "reason_code": "hate"}
            where = person.post(f"/flags/{found[1]}/decide", fields).headers["location"]
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(shift, [f"m{number}" for number in range(8)]))
    assert done == waiting
    with transaction(console.database, read_only=True) as connection:
        assert len(worklist.page(connection, Filter(states=("decided",)), limit=500)) == waiting
