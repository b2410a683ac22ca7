"""Every page for everybody: axe finds nothing, nothing is wider than a phone, nothing jumps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from tasks.intake.intake import Intake
from tests.browser.conftest import People
from tests.browser.posts import fill_calmly
from tests.console_server import ConsoleServer, serving

PAGES = {
    "queue": "/",
    "filtered": "/?rule=sarcastic&negative=0.1",
    "nothing": "/?queue=none",
    "words": "/?words=another+delay",
    "flag": "/flags/1",
    "ten-pictures": "/flags/5",
    "right-to-left": "/flags/3",
    "long-words": "/flags/4",
    "decided": "/flags/10",
    "one-queue": "/?queue=sarcasm",
    "history": "/history",
    "insight": "/insight",
    "policy": "/policy",
    "what-if": "/what-if?rule=negative&value=0.7",
    "audit": "/audit",
    "to-settle": "/reviews",
    "recall": "/recall",
    "views": "/views",
    "settings": "/settings",
    "people": "/moderators",
    "erasure": "/erasure",
    "missing": "/flags/4711",
}
SIZES = {1440: 900, 768: 1024, 390: 844}
#: WCAG 2.2 AA; best practices are advice.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Looks are the same with every database."""
    return f"sqlite:///{tmp_path}/deadpan.db"


@pytest.fixture
def work_done(console: ConsoleServer) -> None:
    """Some decisions, so that history and insight have something to show."""
    for number, who in enumerate(["ann", "bob", "eve"]):
        person = console.person(who)
        for offset, action in enumerate(["remove", "approve", "remove"]):
            with transaction(console.database) as connection:
                said = Said(action, "hate", "a note" if offset else None)  # type: ignore[arg-type]
                decisions.decide(connection, 10 + 3 * number + offset, person, said)


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_every_page_is_fit_for_everybody(
    people: People, console: ConsoleServer, work_done: None, width: int, scheme: str
) -> None:
    page = people.page(
        "root",
        "admin",
        viewport={"width": width, "height": SIZES[width]},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    for name, path in PAGES.items():
        page.goto(path)
        if name == "flag":
            page.keyboard.press("c")
            page.wait_for_selector("[data-countdown]")
            # its script comes after its words: a key before that is nobody's
            page.wait_for_load_state()
            page.keyboard.press("p")
            page.wait_for_selector("figure.show")
            page.wait_for_load_state("networkidle")
            page.keyboard.press("m")
        keep_picture(page, f"{name}-{width}-{scheme}")
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{name} is {overflow} pixels wider than {width}"
        # Rules do not depend on the width but for what is hidden; twice is enough.
        if width != 768:
            look_with_axe(page, name)
    page.goto("/")
    page.locator("[data-all]").check()
    keep_picture(page, f"selected-{width}-{scheme}")
    page.get_by_role("button", name="Approve…").click()
    page.wait_for_selector(".bulk-form")
    keep_picture(page, f"bulk-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look_with_axe(page, "the preview of a bulk decision")
    page.keyboard.press("?")
    look_with_axe(page, "the keys")


def test_the_queue_of_a_quiet_morning_shows_all_of_it_on_one_screen(
    chrome: Browser, database: Engine, intake: Intake, tmp_path: Path
) -> None:
    store = EvidenceStore(str(tmp_path / "evidence"))
    fill_calmly(database, store)
    with serving(database, intake, store) as console:
        people = People(chrome, console)
        page = people.page("ada", viewport={"width": 1440, "height": 900})
        page.goto("/")
        assert page.locator("[data-row]").count() == 6
        assert page.evaluate("document.documentElement.scrollHeight") <= 900
        keep_picture(page, "readme-queue")
        people.close()


def test_the_sign_in_page_is_fit_for_everybody(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.context.clear_cookies()
    page.goto("/insight")
    assert page.url.endswith("/sign-in?next=/insight")
    keep_picture(page, "sign-in")
    look_with_axe(page, "sign-in")


def test_nothing_jumps_while_a_flag_loads(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => { for (const e of list.getEntries())"
        " if (!e.hadRecentInput) window.moved += e.value; })"
        ".observe({type: 'layout-shift', buffered: true});"
    )
    for path in ("/", "/flags/1", "/flags/5"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(200)
        assert page.evaluate("window.moved") < 0.02, path


def look_with_axe(page: Page, name: str) -> None:
    """Fails on what axe finds against WCAG 2.2 AA."""
    options = {"runOnly": {"type": "tag", "values": _TAGS}}
    # axe needs to be evaluated in the page, which its policy does not let a script element do.
    found = Axe().run(page, options=options)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"


def keep_picture(page: Page, name: str) -> None:
    """Keeps a picture of the page in the folder of CONSOLE_PICTURES, if it is set."""
    folder = os.environ.get("CONSOLE_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
