"""Scores that are of words alone: what a flag's page says of them, and of posts without them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from storage.base.database import transaction
from storage.flags import decisions
from tests.browser.conftest import People
from tests.browser.posts import fill_of_words
from tests.browser.test_looks import keep_picture, look_with_axe
from tests.console_server import ConsoleServer


@pytest.fixture
def of_words(console: ConsoleServer) -> tuple[int, int, int]:
    """Flags: offensive and sarcastic with a picture, hateful without."""
    return fill_of_words(console.database, console.store)


def _row(page: Page, name: str) -> Locator:
    return page.get_by_role("row", name=name)


def test_a_score_of_words_alone_is_shown_explained_and_highlights_no_picture(
    people: People, of_words: tuple[int, int, int]
) -> None:
    page = people.page("ann")
    offensive, sarcastic, hateful = of_words
    page.goto(f"/flags/{offensive}")
    expect(page.locator(".reasons")).to_contain_text(
        "Offensiveness of the words alone is 0.91; the rule fires at 0.70 or more"
    )
    row = _row(page, "Offensive")
    expect(row.locator(".figure")).to_have_text("0.91")
    expect(row.locator(".fires")).to_have_attribute("x1", "70.0")
    expect(_row(page, "Hateful").locator(".figure")).to_have_text("0.14")
    expect(_row(page, "Hateful").locator(".fires")).to_have_count(0)
    expect(page.locator("mark.up.l3").first).to_have_text("utter idiot")
    expect(page.locator(".seen")).to_contain_text(
        "the score that triggered the flag, offensiveness of the words alone."
    )
    expect(page.locator("[data-mark]")).to_have_count(0)
    expect(page.locator(".post")).to_contain_text(
        "Nothing is highlighted in the picture: the score that triggered the flag is of the words "
        "alone."
    )
    page.goto(f"/flags/{sarcastic}")
    expect(page.locator("[data-mark]")).to_have_count(0)
    expect(page.locator(".post")).to_contain_text(
        "No part of the picture moved the score that triggered the flag."
    )
    page.goto(f"/flags/{hateful}")
    expect(_row(page, "Hateful").locator(".fires")).to_have_attribute("x1", "60.0")
    expect(page.locator(".post")).not_to_contain_text("highlighted")


def test_a_verdict_without_these_scores_shows_none(
    people: People, of_words: tuple[int, int, int]
) -> None:
    page = people.page("ann")
    for path in ("/flags/1", "/flags/2", "/flags/7"):
        page.goto(path)
        names = page.locator(".scores tbody th")
        expect(names).to_have_text(["Negative", "Sarcastic"])
    page.goto("/?offensive=0.5")
    expect(page.locator("[data-row]")).to_have_count(2)
    page.goto("/?offensive=0.5&hateful=0,5")
    expect(page.locator("[data-row]")).to_contain_text("They shouted")


def test_words_are_labelled_by_keys_where_there_are_words(
    people: People, console: ConsoleServer, of_words: tuple[int, int, int]
) -> None:
    page = people.page("ann")
    page.goto("/flags/7")  # a picture without words
    expect(page.get_by_role("group", name="Sarcasm")).to_have_count(1)
    expect(page.get_by_role("group", name="Words")).to_have_count(0)
    page.goto(f"/flags/{of_words[2]}")
    asked = page.get_by_role("group", name="Words")
    expect(asked.locator("label", has=page.locator("small"))).to_contain_text("Offensive")
    page.keyboard.press("o")
    expect(page.locator("#said")).to_have_text("offensive")
    page.keyboard.press("f")
    expect(page.locator("#said")).to_have_text("inoffensive")
    page.keyboard.press("a")
    page.wait_for_url("**after=*")
    with transaction(console.database, read_only=True) as connection:
        (made,) = decisions.history(connection, limit=2)
    assert (made.offensive, made.agrees_offensive) == (False, False)


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (768, 1024), (390, 844)])
def test_pages_with_all_scores_are_fit_for_everybody(
    people: People, of_words: tuple[int, int, int], width: int, height: int, scheme: str
) -> None:
    viewport = {"width": width, "height": height}
    page = people.page("ann", viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    paths = {f"of-words-{number}": f"/flags/{flag}" for number, flag in enumerate(of_words)}
    paths |= {"of-words-none": "/flags/1", "of-words-filters": "/?offensive=0.5&hateful=much"}
    for name, path in paths.items():
        page.goto(path)
        keep_picture(page, f"{name}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        look_with_axe(page, name)
