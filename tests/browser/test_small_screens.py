"""A phone, and a screen that is zoomed in four times: everything is reached, by keys too."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import People
from tests.browser.test_looks import PAGES, look_with_axe
from tests.console_server import ConsoleServer

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Screens are the same with every database."""
    return f"sqlite:///{tmp_path}/deadpan.db"


def test_the_menu_says_where_one_is_and_leads_everywhere_by_keys(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("root", "admin", viewport=PHONE)
    page.goto("/history")
    menu = page.get_by_role("button", name="Menu: History")
    links = page.get_by_role("navigation", name="Console").get_by_role("link")
    expect(links).to_have_count(0)
    for _ in range(3):  # the link past it all, the brand, the menu
        page.keyboard.press("Tab")
    expect(menu).to_be_focused()
    page.keyboard.press("Enter")
    expect(links).to_have_count(8)
    expect(page.get_by_role("link", name="History")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    look_with_axe(page, "the open menu")
    page.keyboard.press("q")  # no key of the page while it is open
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(links).to_have_count(0)
    expect(menu).to_be_focused()
    assert page.url == f"{console.url}/history"
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/insight")
    expect(page.get_by_role("button", name="Menu: Insight")).to_be_visible()


def test_the_menu_opens_without_scripts(people: People) -> None:
    page = people.page("vic", "viewer", viewport=PHONE, java_script_enabled=False)
    page.goto("/")
    page.get_by_role("button", name="Menu: Queue").click()
    page.get_by_role("link", name="Insight").click()
    expect(page.get_by_role("heading", name="Insight", exact=True)).to_be_visible()


def test_zoomed_in_four_times_nothing_scrolls_sideways_or_hides_what_has_the_focus(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("root", "admin", viewport={"width": 320, "height": 256})
    for name, path in PAGES.items():
        page.goto(path)
        overflow = page.evaluate("document.documentElement.scrollWidth") - 320
        assert overflow <= 0, f"{name} is {overflow} pixels too wide"
    page.goto("/flags/2")
    for height in [256] * 40 + [600] * 40:  # without and with the decisions fixed below
        page.set_viewport_size({"width": 320, "height": height})
        page.keyboard.press("Tab")
        hidden = page.evaluate(
            "(() => { const e = document.activeElement, b = e.getBoundingClientRect();"
            " if (e === document.body || e.matches('.skip')) return null;"
            " const at = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);"
            " return at && (e.contains(at) || at.contains(e)) ? null : e.outerHTML; })()"
        )
        assert hidden is None, "something is over what has the focus"
