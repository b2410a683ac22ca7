"""Insight of a team's five weeks: it fits every screen, axe finds nothing, its links lead on."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from storage.base.database import transaction
from storage.flags import claims, decisions
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.judging.outcomes import record
from storage.reviews import second_looks
from tests.browser.conftest import People
from tests.browser.fit import misfits
from tests.browser.test_looks import SIZES, keep_picture, look_with_axe
from tests.console_data import reason, verdict
from tests.console_server import ConsoleServer

DAYS, POSTS, FLAGS = 36, 21, 4


@pytest.fixture
def five_weeks(console: ConsoleServer) -> None:
    """Posts, flags, decisions with labels, second looks and appeals of every day. This week more
    posts are negative, and bob is in a hurry.
    """
    chance, now = random.Random(7), datetime.now(UTC)
    team = [console.person(name) for name in ("ann", "bob", "a-moderator-with-quite-a-long-name")]
    lead = console.person("eve", "lead")
    for back in range(DAYS, 0, -1):
        at = now - timedelta(days=back, hours=-1)
        judged = [
            verdict(
                f"d{back}-{number}",
                flagged=number < FLAGS + back % 2,
                reasons=[reason(chance.choice(("very-negative", "sarcastic")), "s", 0.6, 0.8)],
                negative=round(chance.uniform(0.3, 1.0) if back <= 7 else chance.random() * 0.8, 3),
                sarcasm=round(chance.random(), 3),
                offensive=round(chance.random(), 3),
                language=chance.choice(("de", "en")),
            )
            for number in range(POSTS)
        ]
        with transaction(console.database) as connection:
            opened = record(connection, verdicts=judged, now=at).opened_flag_ids.values()
        for flag_id in opened:
            who = chance.choice(team)
            at += timedelta(minutes=5)
            seconds = 0.4 if who.name == "bob" and back <= 7 else 20
            said = Said(
                chance.choice(("approve", "remove")),
                "hate",
                sentiment=chance.choice(("negative", "neutral")),
                sarcastic=chance.random() < 0.4,
                offensive=chance.random() < 0.5,
            )
            with transaction(console.database) as connection:
                claims.claim(connection, flag_id, who, claim_seconds=300, now=at)
                done = at + timedelta(seconds=seconds)
                decisions.decide(
                    connection, flag_id, who, said, now=done, second_looks=Sampling(0.5)
                )
                if chance.random() < 0.1:
                    second_looks.appeal(connection, flag_id, actor=lead, now=done)
            later = done + timedelta(minutes=2)
            with transaction(console.database) as connection:
                other = chance.choice(team)
                look = second_looks.take_next(connection, other, claim_seconds=60, now=later)
                if look is not None:
                    second_looks.vote(connection, look, other, Said("remove", "hate"), now=later)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_insight_answers_four_questions_on_every_screen(
    people: People, console: ConsoleServer, five_weeks: None, scheme: str
) -> None:
    for width, height in SIZES.items():
        page = people.page(
            "eve", "lead", viewport={"width": width, "height": height}, color_scheme=scheme
        )
        page.goto("/insight")
        expect(page.locator(".question > h2")).to_have_text(
            ["Are you keeping up?", "Are you right?", "Is the model right?", "Are people well?"]
        )
        expect(page.locator(".answer").nth(1)).to_contain_text("What was missed is unknown")
        keep_picture(page, f"insight-{width}-{scheme}")
        assert misfits(page) == []
        look_with_axe(page, "insight")
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        assert misfits(page) == []
        look_with_axe(page, "insight, opened")
    expect(page.locator(".plot")).to_have_count(8)
    expect(page.get_by_text("Something shifted: this week the mean score for negative")).to_be_visible()  # noqa: E501 # fmt: skip
    loads = page.get_by_role("region", name="Decisions per moderator")
    expect(loads.locator("th", has_text="under a second")).to_have_text(re.compile("^bob "))
    page.get_by_role("region", name="Removed, of each rule").get_by_text("Sarcastic").click()
    expect(page.locator("[data-row]").first).to_contain_text("Sarcastic")
    page.goto("/insight")
    page.get_by_text("Overturned last:").get_by_role("link").first.click()
    expect(page.locator("#looks")).to_contain_text("Appeal")
