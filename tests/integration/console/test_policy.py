"""The policy in use, what another would mean, and taking it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging import policies
from storage.judging.outcomes import record
from storage.people import audit
from tasks.policy.reason_codes import policy_of, policy_text
from tasks.policy.rules import load_policy, parse_policy
from tests.console_data import verdict
from tests.console_server import ConsoleServer

NOW = datetime.now(UTC)
SHIPPED = policy_text()
VERSION = load_policy().version
EARLIER = SHIPPED.replace("sentiment.negative >= 0.85", "sentiment.negative >= 0.8")


@pytest.fixture
def judged(console: ConsoleServer) -> ConsoleServer:
    """400 posts that the policy in use judged; moderators remove what is very negative."""
    chance = random.Random(5)
    scores = [round(chance.random(), 3) for _ in range(400)]
    posts = [
        verdict(f"p{n}", negative=s, sarcasm=0, flagged=s >= 0.6) for n, s in enumerate(scores)
    ]
    ann = console.person("ann")
    before = NOW - timedelta(days=3)
    with transaction(console.database) as connection:
        policies.started(connection, parse_policy(policy_of(EARLIER)).version, EARLIER, now=before)
        policies.started(connection, VERSION, SHIPPED, now=NOW)
        found = record(connection, verdicts=posts, now=NOW - timedelta(days=1))
        for post_id, flag in found.opened_flag_ids.items():
            said = Said("remove" if scores[int(post_id[1:])] >= 0.75 else "approve")
            decisions.decide(connection, flag, ann, said, now=NOW)
    return console


def test_a_policy_is_stored_once_a_version_and_the_one_started_last_is_in_use(
    console: ConsoleServer,
) -> None:
    with transaction(console.database) as connection:
        for hours, version in ((3, "a"), (2, "b"), (1, "a")):
            moment = NOW - timedelta(hours=hours)
            policies.started(connection, version, f"text {hours}", now=moment)
    with transaction(console.database, read_only=True) as connection:
        known = policies.history(connection, limit=5)
    assert [(each.version, each.text) for each in known] == [("a", "text 1"), ("b", "text 2")]
    assert known[0].first_seen_at == NOW - timedelta(hours=3)


def test_a_moderator_reads_the_rules_in_plain_words_and_has_nothing_to_change(
    judged: ConsoleServer,
) -> None:
    page = judged.client("ann").get("/policy").text
    assert 'id="rule-very-negative"' in page
    assert "Negative sentiment of words and pictures together is at 0.85 or more" in page
    assert f"<code>{VERSION}</code>" in page
    assert "/what-if" not in page
    assert judged.client("ann").get("/what-if").status_code == 403
    assert "No policy is known yet" not in page


def test_before_any_worker_started_pages_say_that_no_policy_is_known(
    console: ConsoleServer,
) -> None:
    lead = console.client("eve", "lead")
    for path in ("/policy", "/what-if", "/what-if?rule=negative&value=0.7"):
        assert "No policy is known yet" in lead.get(path).text


def test_a_lead_moves_a_threshold_or_asks_for_the_one_that_reaches_a_goal(
    judged: ConsoleServer,
) -> None:
    lead = judged.client("eve", "lead")
    page = lead.get("/what-if?rule=negative&goal=threshold&value=0.75").text
    assert "+when = &#34;sentiment.negative &gt;= 0.75&#34;" in page
    assert "From 400 verdicts drawn at random of 400 in 30 days (100%)" in page
    assert "approved" in page, "what would vanish, with what was decided"
    precise = lead.get("/what-if?rule=negative&goal=precision&value=100").text
    assert "A threshold of 0.75</strong>" in precise
    assert "A threshold of " in lead.get("/what-if?rule=negative&goal=flags&value=3").text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rule=x&value=0.7", "there is no rule &#39;x&#39;; rules are sarcastic"),
        ("rule=negative&value=1.7", "threshold 1.7 must be between 0 and 1"),
        ("rule=negative&value=much", "&#39;much&#39; is no number"),
        ("rule=negative&value=nan&goal=flags", "flags a day are nan"),
        ("rule=negative&value=1&goal=x", "goal &#39;x&#39; is unknown"),
        ("rule=sarcastic&value=80&goal=precision", "too few are decided, 0"),
    ],
)
def test_what_cannot_be_tried_is_named(judged: ConsoleServer, query: str, said: str) -> None:
    answer = judged.client("eve", "lead").get(f"/what-if?{query}")
    assert answer.status_code == 422
    assert said in answer.text


def test_nothing_that_was_typed_is_lost(judged: ConsoleServer) -> None:
    lead = judged.client("eve", "lead")
    for text, said in (
        ("[[rules]]\nname = 'mine' # of an hour's work\nwhen = 'anger > 1'", "anger"),
        ("rules = # of an hour's work", "the policy is not TOML"),
    ):
        answer = lead.post("/what-if", {"text": text})
        assert answer.status_code == 422
        assert said in answer.text
        assert "of an hour&#39;s work" in answer.text


def test_taking_a_policy_needs_a_reason_and_is_audited(judged: ConsoleServer) -> None:
    lead = judged.client("eve", "lead")
    answer = lead.post("/what-if/take", {"text": EARLIER, "why": " "})
    assert answer.status_code == 422
    assert "why this policy is to be used" in answer.text
    earlier = parse_policy(policy_of(EARLIER)).version
    page = lead.get(f"/what-if?version={earlier}").text
    assert "&gt;= 0.8&#34;" in page
    typed = EARLIER.replace("\n", "\r\n")
    answer = lead.post("/what-if/take", {"text": typed, "why": "too many come"})
    assert answer.text == EARLIER
    assert f"policy-{earlier}.toml" in answer.headers["content-disposition"]
    with transaction(judged.database, read_only=True) as connection:
        entry = audit.read(connection, limit=1, action="policy.take")[0]
    assert (entry.actor, entry.subject) == ("eve", f"policy {earlier}")
    assert entry.after == {"in use": VERSION, "why": "too many come"}
    assert lead.get("/what-if?version=none").status_code == 404


def test_programs_read_policies_and_ask_what_another_would_mean(judged: ConsoleServer) -> None:
    lead = judged.token("eve", "flags:read", "agreement:read", role="lead")
    program = httpx.Client(base_url=judged.url, headers=lead, timeout=30)
    found = program.get("/api/v1/policy").json()["policies"]
    assert found[0]["version"] == VERSION
    assert found[0]["text"] == SHIPPED

    def ask(**body: object) -> httpx.Response:
        return program.post("/api/v1/policy/what-if", json=body)

    moved = ask(rule="negative", threshold=0.75).json()
    assert (moved["in_use"], moved["sampled"], moved["stand_for"]) == (VERSION, 400, 400)
    assert "sentiment.negative >= 0.75" in moved["text"]
    assert moved["after"]["flags_per_day"]["value"] < moved["before"]["flags_per_day"]["value"]
    assert not moved["appear"]
    assert {each["removed"] for each in moved["vanish"]} == {False}
    precise = ask(rule="negative", precision=1).json()
    assert precise["threshold"] == pytest.approx(0.75)
    assert precise["reached"]["value"] == 1
    fewer = ask(rule="negative", flags_a_day=3).json()
    assert fewer["reached"]["value"] <= 3
    whole = ask(text=EARLIER).json()
    assert whole["version"] == parse_policy(policy_of(EARLIER)).version
    for body, said in (
        ({}, "give text, or rule"),
        ({"rule": "negative"}, "give text, or rule"),
        ({"rule": "negative", "precision": 0.8, "threshold": 0.8}, "give text, or rule"),
        ({"rule": "x", "threshold": 0.8}, "there is no rule 'x'"),
        ({"text": "rules ="}, "the policy is not TOML"),
    ):
        answer = ask(**body)
        assert answer.status_code == 422
        assert said in answer.text
    program.close()
