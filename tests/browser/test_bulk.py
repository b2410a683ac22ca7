"""Many flags at once: by keys, with pictures that show nothing unasked and counts that are true."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from storage.base.database import transaction
from storage.flags import decisions
from storage.people import audit, moderators
from tests.browser.conftest import People
from tests.browser.test_looks import look_with_axe
from tests.console_server import ConsoleServer


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The same with every database."""
    return f"sqlite:///{tmp_path}/deadpan.db"


def _looked_at(console: ConsoleServer) -> int:
    with transaction(console.database, read_only=True) as connection:
        looks = audit.read(connection, limit=50, action="picture.view")
    return len([each for each in looks if each.after == {"as": "full"}])


def _counts(page: Page) -> list[str]:
    tabs = page.get_by_role("navigation", name="Lists").locator(".count").all_inner_texts()
    return [*tabs, page.locator("[data-live]").inner_text()]


def test_many_are_decided_and_taken_back_by_keys_alone_and_every_count_is_true_at_once(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/?queue=negative")
    before = _counts(page)
    page.keyboard.press("a")  # nothing is ticked
    page.keyboard.press("*")
    expect(page.locator("[data-selected]")).to_contain_text("selected")
    ticked = page.locator("[data-tick]:checked").count()
    page.keyboard.press("r")  # asks for a reason first
    expect(page.locator(".bulk select")).to_be_focused()
    page.keyboard.press("7")
    page.wait_for_selector(".bulk-form")
    expect(page.get_by_role("heading", name=f"Remove {ticked} flags?")).to_be_visible()
    expect(page.get_by_text("Reason: Spam or fraud")).to_be_visible()
    page.keyboard.press("t")
    page.keyboard.type("y is a letter here")
    page.keyboard.press("Escape")
    page.keyboard.press("y")
    page.wait_for_url("**batch=*")
    open_now = str(int(before[0]) - ticked)
    assert _counts(page) == [open_now, "0", "0", open_now]
    page.keyboard.press("u")
    page.wait_for_url(f"{console.url}/")
    assert _counts(page) == before
    with transaction(console.database, read_only=True) as connection:
        made = decisions.history(connection, limit=500)
    assert {(e.action, e.reason_code, e.note) for e in made} == {
        ("undo", None, None),
        ("remove", "spam", "y is a letter here"),
    }


def test_a_reason_that_was_chosen_does_not_go_with_approving_many(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/?queue=several")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("2")
    expect(page.locator(".bulk select")).to_have_value("hate")
    page.keyboard.press("a")
    page.wait_for_selector(".bulk-form")
    expect(page.get_by_text("Reason:")).to_have_count(0)
    page.keyboard.press("y")
    page.wait_for_url("**batch=*")
    with transaction(console.database, read_only=True) as connection:
        (made,) = decisions.history(connection, limit=5)
    assert (made.action, made.reason_code) == ("approve", None)


@pytest.mark.parametrize("setting", ["blur", "grey", "cover"])
def test_the_preview_shows_pictures_as_their_reader_wants_them(
    people: People, console: ConsoleServer, setting: str
) -> None:
    page = people.page("ann")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    person = console.person("ann")
    with transaction(console.database) as connection:
        moderators.set_settings(connection, person, {"pictures": setting})
    page.goto("/")
    page.get_by_role("checkbox", name="Select post 1001").check()
    page.get_by_role("checkbox", name="Select post 1005").check()
    page.keyboard.press("a")
    page.wait_for_selector(".bulk-form")
    expect(page.locator(f".thumbs figure.{setting}")).to_have_count(5)  # four of ten, and one
    expect(page.get_by_text("and 6 more")).to_be_visible()
    page.wait_for_load_state("networkidle")
    seen = {url.rpartition("=")[2] for url in asked if "/evidence/" in url}
    assert seen == ({setting} if setting != "cover" else set())
    look_with_axe(page, "thumbnails")
    page.get_by_role("button", name="Show all 5 pictures").click()
    expect(page.locator(".thumbs figure.show")).to_have_count(5)
    for _ in range(300):  # until the browser has fetched them, each of which is noted
        if _looked_at(console) == 5:
            break
        page.wait_for_timeout(100)
    assert _looked_at(console) == 5
    page.keyboard.press("p")
    expect(page.locator(".thumbs figure.show")).to_have_count(0)
