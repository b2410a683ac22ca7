"""What attackers try in a browser: scripts in posts, planted and stolen sessions, forged forms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from playwright.sync_api import BrowserContext, Page, expect

from console.people import passwords
from console.web.access import COOKIE
from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.flags.worklist import Filter
from storage.people import moderators
from storage.reviews import second_looks
from tests.browser.conftest import People
from tests.browser.posts import XSS
from tests.console_server import ConsoleServer

PASSWORD = "four words without relation"


def test_nothing_that_a_platform_wrote_runs(people: People, console: ConsoleServer) -> None:
    """Post id, text, author, what was wrong with a picture, an appeal's words, a note, a filter."""
    page = people.page("ann", "admin")
    with transaction(console.database, read_only=True) as connection:
        waiting = worklist.page(connection, Filter(), limit=50)
    number = next(each.id for each in waiting if each.post_id.startswith("xss"))
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)

    def look(path: str) -> None:
        page.goto(path)
        hurt = page.evaluate(
            "window.hit || document.querySelector('script:not([src]), [onerror], [src=x]') !== null"
        )
        assert not hurt, path

    look("/")
    page.locator("[data-row]", has_text="<script>").locator("[data-tick]").check()
    page.get_by_role("button", name="Approve…").click()
    expect(page.get_by_role("heading", name="Approve 1 flag?")).to_be_visible()
    assert page.evaluate("window.hit") is None, "the preview of a bulk decision"
    look(f"/flags/{number}")
    page.get_by_label("Note").fill(f"</textarea>{XSS}")
    page.locator("input[name=reason_code]").first.check()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_selector("[data-done]")
    assert page.evaluate("window.hit") is None, "what was just decided"
    with transaction(console.database) as connection:
        eve = moderators.add(connection, "eve", "lead", actor="test")
        look_id = second_looks.appeal(connection, number, actor=eve, why=XSS).id
    for path in (f"/flags/{number}", "/", "/?state=decided", "/history", "/audit", "/insight"):
        look(path)
    look("/?post=<script>window.hit=1</script>&author=%22%3E<img src=x onerror=window.hit=1>")
    reader = people.page("bob")
    reader.goto("/")
    reader.keyboard.press("n")
    reader.wait_for_url(f"**/reviews/{look_id}*")
    expect(reader.get_by_text('onerror="window.hit=1"').last).to_be_visible()
    assert reader.evaluate("window.hit") is None, "an appeal"
    assert problems == []


def test_a_planted_session_is_worth_nothing_after_the_sign_in(
    people: People, console: ConsoleServer
) -> None:
    """Fixation, with a made-up session and with one of the attacker's own."""
    ann = console.person("ann")
    with transaction(console.database) as connection:
        kept = passwords.hashed(PASSWORD, "ann")
        moderators.set_password(connection, ann.id, kept, actor="test")
    for planted in ("a-session-that-i-made-up", console.session("mallory", "viewer")):
        victim, thief = people.page("nobody", "viewer"), people.page("nobody", "viewer")
        for page in (victim, thief):
            page.context.clear_cookies()
        _plant(victim.context, console, planted)
        victim.goto("/sign-in")
        if "sign-in" not in victim.url:  # it was a living session: the victim signs out of it
            victim.get_by_role("button", name="Sign out").click()
        victim.get_by_label("Name").fill("ann")
        victim.get_by_label("Password").fill(PASSWORD)
        victim.get_by_role("button", name="Sign in").click()
        expect(victim.get_by_role("link", name="ann")).to_be_visible()
        assert _session(victim) != planted
        assert COOKIE not in victim.evaluate("document.cookie"), "no script reads it"
        _plant(thief.context, console, planted)
        thief.goto("/")
        assert "/sign-in" in thief.url


def test_a_stolen_session_ends_where_its_owner_ends_it(
    people: People, console: ConsoleServer
) -> None:
    victim, thief = people.page("ann"), people.page("nobody", "viewer")
    victim.goto("/")
    stolen = _session(victim)
    thief.context.clear_cookies()
    _plant(thief.context, console, stolen)
    thief.goto("/settings")
    expect(thief.get_by_role("heading", name="Settings")).to_be_visible()
    elsewhere = people.page("ann")
    elsewhere.goto("/settings")
    elsewhere.get_by_role("button", name="Sign out everywhere else").click()
    thief.goto("/flags/1")
    assert "/sign-in" in thief.url
    elsewhere.get_by_role("button", name="Sign out").click()
    elsewhere.wait_for_url("**/sign-in")
    elsewhere.go_back()
    expect(elsewhere.get_by_role("button", name="Sign in")).to_be_visible()


def test_another_site_neither_sends_forms_nor_frames_a_page(
    people: People, console: ConsoleServer
) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    forged = (
        f'<form id="f" method="post" action="{console.url}/flags/2/decide">'
        '<input name="action" value="approve"><input name="csrf" value="guessed"></form>'
        f'<iframe id="inside" src="{console.url}/flags/2"></iframe>'
    )
    with _site(forged) as url:
        page.goto(url)
        inside = page.frames[-1]
        assert inside.locator("#decide").count() == 0, "framed"
        page.evaluate("document.getElementById('f').submit()")
        expect(page.get_by_role("heading", name="Not allowed for your role")).to_be_visible()
    with transaction(console.database, read_only=True) as connection:
        assert decisions.history(connection, limit=5) == []


def test_what_was_typed_outlives_an_expired_session(people: People, console: ConsoleServer) -> None:
    page = people.page("ann")
    page.goto("/flags/2")
    page.get_by_label("Note").fill("my own words")
    page.context.clear_cookies()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("your session has ended")).to_be_visible()
    expect(page.locator("[data-draft]")).to_be_visible()
    back = page.get_by_role("link", name="Sign in").get_attribute("href")
    assert back == "/sign-in?next=/flags/2"
    _plant(page.context, console, console.session("ann"))
    page.goto(back)
    page.wait_for_url("**/flags/2")
    expect(page.get_by_label("Note")).to_have_value("my own words")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_selector("[data-done]")
    with transaction(console.database, read_only=True) as connection:
        (made,) = decisions.history(connection, limit=5)
    assert (made.action, made.note) == ("approve", "my own words")
    page.goto("/flags/3")
    expect(page.get_by_label("Note")).to_have_value("")


def _session(page: Page) -> str:
    (cookie,) = [each for each in page.context.cookies() if each["name"] == COOKIE]
    return str(cookie["value"])


def _plant(context: BrowserContext, console: ConsoleServer, value: str) -> None:
    context.add_cookies([{"name": COOKIE, "value": value, "url": console.url}])


@contextmanager
def _site(body: str) -> Iterator[str]:
    """A site of somebody else's, on loopback."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html>{body}".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
