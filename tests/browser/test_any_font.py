"""Every page holds with any font and names as long as they may be, on every screen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.conftest import People
from tests.browser.fit import WIDE_FONT, misfits
from tests.browser.long_names import ACTIVITY, PERSON, fill_long
from tests.browser.test_looks import PAGES, keep_picture
from tests.console_server import ConsoleServer

pytestmark = pytest.mark.long

SIZES = {1440: 900, 768: 1024, 390: 844, 320: 568}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Screens are the same with every database."""
    return f"sqlite:///{tmp_path}/deadpan.db"


@pytest.mark.timeout(900)
def test_no_name_and_no_font_pushes_anything_off_a_page(
    people: People, console: ConsoleServer
) -> None:
    me = f"{PERSON[:-1]}r"
    page = people.page(me, "admin", color_scheme=os.environ.get("CONSOLE_SCHEME", "dark"))
    if os.environ.get("CONSOLE_FONT") != "own":
        page.add_init_script(WIDE_FONT)
    long = fill_long(console.database, console.store, console.person(me))
    found: list[str] = []

    def look(name: str, *sizes: int) -> None:
        for width in sizes or SIZES:
            page.set_viewport_size({"width": width, "height": SIZES[width]})
            keep_picture(page, f"long-{name.replace(' ', '-')}-{width}")
            found.extend(f"{width}, {name}: {each}" for each in misfits(page))

    for name, path in (PAGES | long).items():
        page.goto(path)
        page.wait_for_load_state()
        look(name)
    page.goto("/history")
    page.get_by_role("button", name="Menu").click()
    look("menu", 390, 320)
    page.goto(long["long flag"])
    page.keyboard.press("c")
    page.wait_for_selector("[data-countdown]")
    look("claimed flag")
    page.goto(long["long queue"])
    page.locator("[data-all]").check()
    look("ticked")
    page.locator(".bulk select").select_option("spam")
    page.get_by_role("button", name="Remove").click()
    page.wait_for_selector(".bulk-form")
    look("bulk preview")
    page.goto("/erasure")
    page.get_by_label("Post id, or the author").fill(ACTIVITY)
    page.get_by_role("button", name="Preview").click()
    page.wait_for_selector("[name=sure]")
    look("erasure preview")
    page.keyboard.press("?")
    look("keys")
    page.context.clear_cookies()
    page.goto("/sign-in")
    look("sign in")
    assert not found, "\n".join(found)
