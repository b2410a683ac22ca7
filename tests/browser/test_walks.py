"""A viewer's and a lead's walk through the console, by what each can see and reach."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

from storage.base.database import transaction
from storage.flags import claims, decisions
from storage.flags.decisions import Said
from storage.reviews import known_answers, reviews
from tests.browser.conftest import People
from tests.console_server import ConsoleServer


def _links(page: Page) -> list[str]:
    return [each.inner_text().split()[0] for each in page.locator(".top nav a").all()]


def test_a_viewer_sees_and_decides_nothing(people: People, console: ConsoleServer) -> None:
    page = people.page("vic", "viewer")
    page.goto("/")
    assert _links(page) == ["Queue", "History", "Insight", "Policy"]
    for name in ("Insight", "History", "Queue"):
        page.locator(".top nav").get_by_role("link", name=name).click()
        expect(page.locator("h1")).to_have_text(name)
        # Signing out is all that can be sent from there.
        forms = page.locator("form[method=post]").evaluate_all(
            "(forms) => forms.map((form) => form.getAttribute('action'))"
        )
        assert forms == ["/sign-out"], name
    page.locator("[data-row] [data-open]").first.click()
    expect(page.locator("h1")).to_contain_text("Post 1001")
    expect(page.locator("figure.blur")).to_have_count(1)
    for key in ("a", "c", "n", "x"):
        page.keyboard.press(key)
    # The next one is not theirs to take: "n" leads to the queue.
    page.wait_for_url(f"{console.url}/")
    page.goto("/audit")
    expect(page.get_by_text("this needs the role lead")).to_be_visible()
    expect(page.get_by_role("link", name="Back to the queue")).to_be_visible()
    with transaction(console.database, read_only=True) as connection:
        assert decisions.history(connection, limit=5) == []


def test_a_lead_settles_takes_over_and_takes_along(
    people: People, console: ConsoleServer, tmp_path: Path
) -> None:
    ann = people.page("ann")
    ann.goto("/flags/5")
    ann.keyboard.press("e")
    ann.keyboard.press("3")
    ann.wait_for_url("**after=1*")
    lead = people.page("eve", "lead")
    lead.goto("/")
    assert _links(lead) == ["Queue", "History", "Insight", "Policy", "Appeals", "Audit"]
    # What was escalated comes first, and to them only.
    lead.keyboard.press("n")
    lead.wait_for_url("**/flags/5")
    lead.keyboard.press("a")
    lead.wait_for_url("**after=2*")
    # A flag that somebody sits on is taken from them.
    bob = console.person("bob")
    with transaction(console.database) as connection:
        claims.claim(connection, 4, bob, claim_seconds=300)
    lead.goto("/flags/4")
    lead.get_by_role("button", name="Release their claim").click()
    lead.wait_for_url(f"{console.url}/")
    lead.goto("/flags/4")
    expect(lead.locator(".state .pill")).to_have_text("Open")
    # One that they hold is handed to somebody by name.
    lead.keyboard.press("c")
    expect(lead.locator("[data-countdown]")).to_be_visible()
    lead.locator(".hand summary").click()
    lead.locator(".hand select").select_option("bob")
    lead.get_by_role("button", name="Hand over").click()
    lead.wait_for_url(f"{console.url}/")
    lead.goto("/flags/4")
    expect(lead.locator(".state .pill")).to_have_text("Claimed by bob")
    # A decision is appealed against, and another becomes a known answer.
    with transaction(console.database) as connection:
        past = datetime.now(UTC) - timedelta(minutes=5)
        decisions.decide(connection, 3, bob, Said("remove", "hate"), now=past)
    lead.goto("/flags/3")
    lead.get_by_label("Appeal").fill("it quotes somebody")
    lead.get_by_role("button", name="Open appeal").click()
    expect(lead.get_by_text("An appeal is waiting for someone else.")).to_be_visible()
    lead.get_by_label("Known answer").select_option("remove")
    lead.get_by_label("Why it is right").fill("the quote is the insult")
    lead.get_by_role("button", name="Save").click()
    lead.wait_for_load_state()
    with transaction(console.database, read_only=True) as connection:
        assert [each.why for each in reviews.of_flag(connection, 3)] == ["it quotes somebody"]
        known = known_answers.of_flag(connection, 3)
        assert known is not None
        assert (known.action, known.why) == ("remove", "the quote is the insult")
    # All of it is in the log, which they read and take along.
    lead.goto("/audit?action=flag.escalate")
    expect(lead.locator("tbody tr")).to_have_count(1)
    lead.goto("/audit")
    with lead.expect_download() as download:
        lead.get_by_role("link", name="Download as JSONL").click()
    download.value.save_as(tmp_path / "audit.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    done = [each["action"] for each in lines if each["actor"] == "eve"]
    assert [each for each in done if each.startswith(("flag.", "review.", "export"))] == done[1:]
    assert {"flag.approve", "flag.release", "flag.hand-over", "export"} <= set(done)
    lead.goto("/moderators")
    expect(lead.get_by_text("this needs the role admin")).to_be_visible()
