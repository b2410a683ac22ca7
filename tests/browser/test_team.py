"""People who work together: a view that is somebody's work, a comment with a name, a hand-over."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import People


def test_a_lead_gives_somebody_a_view_and_n_takes_from_it(people: People) -> None:
    people.page("ann")  # so that there is somebody to assign
    lead = people.page("eve", "lead")
    lead.goto("/?queue=sarcasm")
    lead.locator(".save-view summary").click()
    lead.locator(".save-view [name=name]").fill("Sarcasm")
    lead.locator(".save-view [name=shared]").check()
    lead.locator(".save-view button").click()
    lead.wait_for_url("**/?queue=sarcasm")
    lead.get_by_role("link", name="Manage views").click()
    lead.locator("summary[aria-label*='Sarcasm']").click()
    lead.get_by_label("ann").check()
    lead.get_by_role("button", name="Save").click()
    expect(lead.locator("td[data-label='Work of']")).to_contain_text("ann")
    ann = people.page("ann")
    ann.goto("/")
    ann.keyboard.press("n")
    ann.wait_for_url("**/flags/1")
    ann.keyboard.press("a")
    # Other queues are full, and none of their work.
    expect(ann.get_by_text("Your work is Sarcasm, and nothing is open there.")).to_be_visible()
    ann.get_by_role("button", name="Take one from all queues").click()
    ann.wait_for_url("**/flags/2*")


def test_a_comment_calls_somebody_and_the_mark_goes_once_they_have_looked(people: People) -> None:
    bob = people.page("bob")
    ann = people.page("ann")
    ann.goto("/flags/2")
    ann.get_by_label("To your team").fill("@bob, is this <b>satire</b>?")
    ann.get_by_role("button", name="Comment").click()
    expect(ann.locator("#comments .said")).to_have_text("@bob, is this <b>satire</b>?")
    expect(ann.locator(".for-you")).to_have_count(0)
    bob.goto("/history")
    bob.get_by_role("link", name="1 for you").click()
    bob.locator("#for-you a[href^='/flags/2']").first.click()
    expect(bob.locator("#comments .said")).to_be_visible()
    bob.goto("/history")
    expect(bob.locator(".for-you")).to_have_count(0)


def test_what_is_handed_over_arrives_with_its_comment_and_n_gives_it_first(people: People) -> None:
    bob = people.page("bob")
    ann = people.page("ann")
    ann.goto("/flags/3")
    ann.keyboard.press("c")
    expect(ann.locator("[data-countdown]")).to_be_visible()
    ann.locator(".hand summary").click()
    ann.locator(".hand select").select_option("bob")
    ann.get_by_role("textbox", name="Comment").fill("you read Arabic")
    ann.get_by_role("button", name="Hand over").click()
    bob.goto("/")
    expect(bob.get_by_role("link", name="1 for you")).to_be_visible()
    bob.keyboard.press("n")
    bob.wait_for_url("**/flags/3")
    expect(bob.locator("[data-countdown]")).to_be_visible()
    expect(bob.locator("#comments .said")).to_have_text("you read Arabic")
    expect(bob.locator(".for-you")).to_have_count(0)
