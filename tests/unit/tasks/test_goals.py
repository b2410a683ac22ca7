"""The threshold that reaches a goal."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta

import pytest

from deadpan.core.errors import PolicyError
from storage.reports.judged import Judged, Sample
from storage.tables import Verdict
from tasks.policy.goals import for_flags_a_day, for_precision
from tasks.policy.reason_codes import policy_text
from tasks.policy.rules import parse_policy
from tasks.policy.what_if import text_with_threshold, with_threshold

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TOML = """
# sarcasm >= 0.5 was tried
[[rules]]
name = "sarcastic"
when = "sarcasm >= 0.5"
queue = "sarcasm"
priority = 1
decide_within = "4h"

[[rules]]
name = "also"
when = "sarcasm >= 0.5 and language == de"
queue = "sarcasm"
priority = 2
"""
POLICY = parse_policy(tomllib.loads(TOML))


def judged(score: float, *, removed: bool | None = None, stands_for: float = 1.0) -> Judged:
    names = dict.fromkeys(Verdict.__dataclass_fields__)
    given = {"negative": 0.2, "neutral": 0.5, "positive": 0.3, "sarcasm": score, "unlearnt": False}
    verdict = Verdict(**{**names, **given, "degraded": []})  # type: ignore[arg-type]
    return Judged(verdict, stands_for, removed=removed)


def sample(flags: list[Judged], unflagged: list[Judged] | None = None) -> Sample:
    return Sample(NOW - timedelta(days=10), NOW, flags, unflagged or [], [], None)


#: 50 scores from 0.5 to 0.99, four flags each; moderators remove what is 0.7 or more.
FLAGS = [judged(n / 100, removed=n >= 70) for n in range(50, 100) for _ in range(4)]


def test_the_least_strict_threshold_with_the_precision_is_found() -> None:
    found = for_precision(POLICY, "sarcastic", sample(FLAGS), 0.8)
    # from 0.63 on 30 of 37 scores are removed, .811; from 0.62 on 30 of 38, .789
    assert found.threshold == 0.63
    assert found.decided == 148
    assert found.reached.value == pytest.approx(30 / 37)
    assert found.reached.low < 0.8 < found.reached.high
    assert for_precision(POLICY, "sarcastic", sample(FLAGS), 0.5).threshold == 0.5, "as it is"


def test_too_few_decisions_are_said_and_not_guessed_from() -> None:
    with pytest.raises(PolicyError, match="too few are decided, 29; 30 are needed"):
        for_precision(POLICY, "sarcastic", sample(FLAGS[-29:]), 0.8)
    half = [judged(n / 100, removed=n % 2 == 0) for n in range(50, 100)]
    with pytest.raises(PolicyError, match=r"reaches a precision of 80%; the highest is 5\d%"):
        for_precision(POLICY, "sarcastic", sample(half), 0.8)


def test_flags_a_day_count_what_unflagged_posts_stand_for() -> None:
    below = [judged(0.45, stands_for=10) for _ in range(3)]
    found = for_flags_a_day(POLICY, "sarcastic", sample(FLAGS, below), 22)
    assert found.threshold == 0.46, "from 0.46 on there are the 200 flags alone"
    assert found.reached.value == 20
    assert found.reached.high > 20, "of unflagged posts a sample alone is known"
    assert for_flags_a_day(POLICY, "sarcastic", sample(FLAGS, below), 23).threshold == 0.0
    assert for_flags_a_day(POLICY, "sarcastic", sample(FLAGS, below), 10).threshold == 0.75


def test_a_threshold_moves_in_the_file_and_all_else_stays() -> None:
    for rule in ("sarcastic", "also"):
        text = text_with_threshold(TOML, rule, 0.75)
        assert parse_policy(tomllib.loads(text)) != POLICY
        changed = [b for a, b in zip(TOML.split("\n"), text.split("\n"), strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0].startswith('when = "sarcasm >= 0.75')
        again = parse_policy(tomllib.loads(text))
        assert again.version == with_threshold(POLICY, rule, 0.75).version
        assert again.rules[0].decide_within == 4 * 3600
    shipped = policy_text()
    for rule in parse_policy(tomllib.loads(shipped)).rules:
        assert text_with_threshold(shipped, rule.name, 0.99) != shipped


def test_a_rule_or_goal_that_cannot_be_is_named() -> None:
    with pytest.raises(PolicyError, match="no rule 'x'; rules are sarcastic, also"):
        for_precision(POLICY, "x", sample(FLAGS), 0.8)
    with pytest.raises(PolicyError, match=r"precision 80 must be above 0 and at most 1"):
        for_precision(POLICY, "sarcastic", sample(FLAGS), 80)
    always = [judged(1.0) for _ in range(100)]
    with pytest.raises(PolicyError, match=r"still flags 10\.0 posts a day, more than 5"):
        for_flags_a_day(POLICY, "sarcastic", sample(always), 5)
