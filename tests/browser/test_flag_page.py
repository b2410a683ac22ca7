"""A flag's page as a moderator has it before their eyes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from sources.files import FileSource
from tests.browser.conftest import People
from tests.console_server import ConsoleServer


@pytest.fixture
def thread(console: ConsoleServer, tmp_path: Path) -> Iterator[None]:
    """A platform that has the first post and what it answers."""
    file = tmp_path / "posts.jsonl"
    posts = [
        {"id": "up", "text": "<img src=x onerror='window.hit=1'>Whose flat is wet, too?"},
        {"id": "1001", "text": "other words", "parent": "up", "url": "https://platform.example/1"},
    ]
    file.write_text("".join(json.dumps(post) + "\n" for post in posts))
    source = FileSource(file, threads=1)
    console.app.state.console.source = source
    yield
    source.close()


@pytest.mark.usefixtures("thread")
def test_the_thread_comes_by_itself_and_runs_nothing(people: People) -> None:
    page = people.page("ann")
    page.goto("/flags/1")
    expect(page.locator(".thread li blockquote")).to_contain_text("Whose flat is wet, too?")
    expect(page.get_by_text("has changed since it was judged")).to_be_visible()
    link = page.get_by_role("link", name="Open the post on the platform")
    assert link.get_attribute("rel") == "noreferrer noopener nofollow"
    assert page.evaluate("window.hit") is None


def test_a_wide_screen_has_why_beside_the_post_and_the_decision_beside_both(
    people: People,
) -> None:
    page = people.page("ann", viewport={"width": 1440, "height": 900})
    page.goto("/flags/1")

    def boxes() -> list[dict[str, float]]:
        found = [page.locator(each).bounding_box() for each in (".post", ".why", ".right")]
        return [dict(each) for each in found if each is not None]

    post, why, decision = boxes()
    assert post["x"] + post["width"] <= why["x"]
    assert why["x"] + why["width"] <= decision["x"]
    assert abs(post["y"] - why["y"]) < 2
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()
    # Narrower, all is read one below the other.
    for width in (1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        post, why, _ = boxes()
        assert post["y"] + post["height"] <= why["y"]
        assert post["x"] == why["x"]


def test_a_tag_shows_its_score(people: People) -> None:
    page = people.page("ann")
    page.goto("/?queue=sarcasm")
    expect(page.locator("[data-row] .tag").first).to_have_text("Sarcastic .91")
