"""A lead raises a threshold, sees what that means, and takes the file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from playwright.sync_api import expect

from storage.base.database import transaction
from storage.judging import policies
from storage.people import audit
from tasks.policy.reason_codes import policy_text
from tasks.policy.rules import load_policy, parse_policy
from tests.browser.conftest import People
from tests.browser.fit import misfits
from tests.browser.test_looks import look_with_axe
from tests.console_server import ConsoleServer


def test_a_lead_raises_a_threshold_sees_the_change_and_takes_the_file(
    people: People, console: ConsoleServer, tmp_path: Path
) -> None:
    with transaction(console.database) as connection:
        policies.started(connection, load_policy().version, policy_text())
    lead = people.page("eve", "lead", java_script_enabled=False)
    lead.goto("/")
    lead.locator(".top nav").get_by_role("link", name="Policy").click()
    lead.get_by_role("link", name="What if…").click()
    lead.locator("select[name=rule]").select_option("negative")
    lead.locator("input[name=value]").fill("1.7")
    lead.get_by_role("button", name="Try").first.click()
    expect(lead.get_by_role("alert")).to_contain_text("threshold 1.7 must be between 0 and 1")
    lead.locator("input[name=value]").fill("0.84")
    lead.get_by_role("button", name="Try").first.click()
    expect(lead.get_by_role("row", name="Flags a day")).to_be_visible()
    expect(lead.locator("pre").first).to_contain_text('+when = "sentiment.negative >= 0.84"')
    lead.locator("input[name=why]").fill("too many that stay")
    with lead.expect_download() as taken:
        lead.get_by_role("button", name="Take policy-").click()
    taken.value.save_as(tmp_path / "policy.toml")
    text = (tmp_path / "policy.toml").read_text()
    version = parse_policy(tomllib.loads(text)).version
    assert taken.value.suggested_filename == f"policy-{version}.toml"
    changed = [
        b for a, b in zip(policy_text().split("\n"), text.split("\n"), strict=True) if a != b
    ]
    assert changed == ['when = "sentiment.negative >= 0.84"']
    with transaction(console.database, read_only=True) as connection:
        entry = audit.read(connection, limit=1, action="policy.take")[0]
    assert (entry.actor, entry.subject) == ("eve", f"policy {version}")


def test_a_flag_leads_to_its_rule_and_the_pages_fit(people: People, console: ConsoleServer) -> None:
    with transaction(console.database) as connection:
        policies.started(connection, load_policy().version, policy_text())
    for width, scheme in ((1440, "dark"), (768, "light"), (390, "light"), (390, "dark")):
        page = people.page(
            "eve", "lead", viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        for path in ("/policy", "/what-if?rule=negative&value=0.84"):
            page.goto(path)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert misfits(page) == [], (path, width)
            look_with_axe(page, f"{path} {width}")
    page.goto("/flags/1")
    page.locator(".reasons a").first.click()
    assert "/policy#rule-" in page.url
    expect(page.locator("tr:target")).to_have_count(1)
