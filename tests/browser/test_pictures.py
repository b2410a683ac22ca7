"""The pictures of README.md and docs/console.md, taken from the demo as a newcomer sees it.

`make pictures` takes them anew; they hold what the shipped model said of the demo's posts.
"""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.harness import environment

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 200_000


@pytest.fixture
def link(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A demo that runs, and the link into its console."""
    if not request.config.getoption("--pictures"):
        pytest.skip("takes pictures into docs/images with --pictures only")
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "demo", "--stay", "--folder", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert child.stdout is not None
        said = (re.search(r"http://\S+/sign-in\?token=\S+", line) for line in child.stdout)
        links = (found[0] for found in said if found)
        next(links)
        yield next(links)  # given again when all posts are judged
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)


@pytest.mark.timeout(900)
def test_pictures_of_the_console(link: str, chrome: Browser) -> None:
    context = chrome.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce"
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.add_init_script("localStorage.setItem('deadpan hinted', 'yes')")
    page.goto(link)
    page.get_by_role("button", name="Open the console").click()
    page.wait_for_selector("[data-row]")
    _take(page, "console-queue")
    page.goto("/".join(page.url.split("/")[:3]) + "/?post=1001")
    page.locator("[data-row] [data-open]").first.click()
    page.wait_for_selector("#decide")
    page.keyboard.press("c")
    page.wait_for_selector("[data-countdown]")
    _take(page, "console-blurred")
    with page.expect_response(lambda response: response.url.endswith("as=full")):
        page.keyboard.press("p")
    page.keyboard.press("m")
    _take(page, "console-flag")
    page.emulate_media(color_scheme="dark")
    _take(page, "console-dark")
    page.emulate_media(color_scheme="light")
    # Decides some of them, for something to look back at; not only that post, which was looked for.
    page.goto("/".join(page.url.split("/")[:3]))
    page.keyboard.press("n")
    page.wait_for_selector("#decide")
    for keys in ("r1", "a", "r1", "r7", "a", "e3", "r2", "a"):
        before = page.url
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(lambda url, before=before: url != before)
        page.wait_for_selector("#decide")
    page.locator(".top nav").get_by_role("link", name="Insight").click()
    page.wait_for_selector(".plot")
    page.wait_for_timeout(2500)  # counts in the header may be two seconds old
    page.reload()
    page.wait_for_selector(".plot")
    _take(page, "console-insight")
    context.close()


def _take(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    picture = Image.open(io.BytesIO(page.screenshot()))
    path = FOLDER / f"{name}.png"
    picture.convert("RGB").save(path, optimize=True)
    if path.stat().st_size >= MOST_BYTES:
        # 256 colours do for a page, and take a third of the bytes.
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, f"{name}: {path.stat().st_size} bytes"
