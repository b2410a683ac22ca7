"""Signing in by an OpenID provider in a real browser: its cookies, its rules about forms."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect
from sqlalchemy import Engine

from console.people.openid import CALLBACK_PATH, Provider
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import moderators
from tasks.intake.intake import Intake
from tests.browser.test_looks import look_with_axe
from tests.console_server import serving
from tests.provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from worker.local.embedded import free_port


def test_somebody_signs_in_by_the_provider_and_out_of_both(
    chrome: Browser, tmp_path: Path, intake: Intake, database: Engine
) -> None:
    port, store = free_port(), EvidenceStore(str(tmp_path / "evidence"))
    url = f"http://127.0.0.1:{port}"
    with transaction(database) as connection:
        moderators.add(connection, "ann", "lead", actor="test", email="ann@x.example")
    there = OpenIdProvider(free_port(), url + CALLBACK_PATH)
    provider = Provider(there.issuer, CLIENT_ID, CLIENT_SECRET, url)
    context = chrome.new_context(base_url=url, viewport={"width": 390, "height": 844})
    try:
        with serving(database, intake, store, port=port, url=url, provider=provider):
            page = context.new_page()
            page.goto("/insight")
            expect(page.get_by_label("Password")).to_be_visible()
            look_with_axe(page, "sign-in")
            page.get_by_role("link", name="Sign in with 127.0.0.1").click()
            page.get_by_role("button", name="I am s1").click()
            page.wait_for_url(f"{url}/insight")
            page.get_by_role("button", name="Menu: Insight").click()
            expect(page.get_by_role("link", name="ann")).to_be_visible()
            assert {"deadpan_session"} <= {cookie["name"] for cookie in context.cookies()}
            assert "deadpan_openid" not in {cookie["name"] for cookie in context.cookies()}
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_text("You are signed out of Deadpan.")).to_be_visible()
            look_with_axe(page, "signed out")
            page.get_by_role("link", name="Sign out of 127.0.0.1").click()
            expect(page.get_by_text("You are signed out.")).to_be_visible()
            assert page.url.startswith(there.issuer)
    finally:
        context.close()
        there.stop()
