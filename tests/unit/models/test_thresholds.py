"""Thresholds reach what was wanted, or say what can be had."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from deadpan.core.errors import ConfigurationError
from models.evaluation.thresholds import Wanted, choose, for_flags, for_precision, rows, wilson
from tasks.policy.calibrated import policy_toml
from tasks.policy.rules import parse_policy


def posts(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Perfectly calibrated scores."""
    random = np.random.default_rng(0)
    scores = random.random(count)
    return scores, (random.random(count) < scores).astype(np.int64)


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    found = wilson(8, 10)
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 0) == {"value": 0.0, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize("bound", ["low", "value"])
def test_the_smallest_threshold_with_the_wanted_precision_is_chosen(bound: str) -> None:
    scores, truth = posts()
    row = for_precision(rows(scores, truth), 0.8, bound=bound)
    flagged = scores >= row.threshold
    assert row.precision["value"] == pytest.approx(truth[flagged].mean())
    assert row.recall["value"] == pytest.approx(truth[flagged].sum() / truth.sum())
    assert row.precision[bound] >= 0.8
    below = [one for one in rows(scores, truth) if one.threshold < row.threshold]
    assert all(one.precision[bound] < 0.8 for one in below)


def test_a_precision_that_cannot_be_had_is_refused_with_the_best_there_is() -> None:
    scores, truth = posts(200)
    with pytest.raises(ConfigurationError, match=r"of sarcasm has .* 0.999; the best is .*--by"):
        for_precision(rows(scores, truth), 0.999, score="sarcasm")


def test_flags_stay_within_what_people_can_look_at() -> None:
    scores, truth = posts()
    row = for_flags(rows(scores, truth), 200, 10_000)
    assert (scores >= row.threshold).mean() * 10_000 <= 200
    assert (scores >= row.threshold - 0.01).mean() * 10_000 > 200
    with pytest.raises(ConfigurationError, match="even at 0"):
        for_flags(rows(np.ones(10), truth[:10]), 200, 10_000)


def test_posts_without_label_count_as_flags_and_not_in_precision() -> None:
    scores = np.array([0.9, 0.9, 0.9, 0.1])
    row = rows(scores, np.array([1, 0, -1, 0]))[49]
    assert (row.flagged, row.right, row.share) == (2, 1, 0.75)


def test_both_wishes_together_take_the_higher_threshold() -> None:
    scores, truth = posts()
    wanted = Wanted.parse(["sarcasm=0.8"], ["200"], 10_000)
    chosen = choose("sarcasm", scores, truth, wanted)
    assert chosen.row == for_flags(rows(scores, truth), 200, 10_000)
    assert "lower 95 % bound of the precision is at least 0.8 at 0.65" in chosen.why
    assert "at most 200 flags a day of 10000 posts from 0.99 on" in chosen.why
    assert len(chosen.table()) == 99


def test_wishes_that_cannot_be_read_are_told_together() -> None:
    with pytest.raises(ConfigurationError) as found:
        Wanted.parse(["sarcasm", "mood=0.5", "sentiment.negative=1.5"], ["7"], None, bound="x")
    told = "\n".join(found.value.problems)
    for part in ("--precision sarcasm:", "'mood'", "between 0 and 1", "--posts-per-day", "--by"):
        assert part in told
    with pytest.raises(ConfigurationError, match="no post has a label for sarcasm"):
        choose("sarcasm", np.ones(3), -np.ones(3, int), Wanted({"sarcasm": 0.5}, {}, None))


def test_the_policy_has_the_thresholds_and_says_where_they_come_from() -> None:
    scores, truth = posts()
    wanted = Wanted.parse(["sarcasm=0.8", "sentiment.negative=0.7"], ["sarcasm=300"], 10_000)
    chosen = [choose(score, scores, truth, wanted) for score in wanted.scores]
    text = policy_toml(
        [one.as_row() for one in chosen],
        model="mini-0",
        calibration="abc",
        data=[{"name": 'dev\n[[rules]]"', "sha256": "ab" * 32, "n": 4000}],
    )
    policy = parse_policy(tomllib.loads(text))
    assert [rule.name for rule in policy.rules] == ["sarcasm", "sentiment-negative", "unseen"]
    threshold = chosen[0].row.threshold
    assert [r.rule for r in policy.reasons_for({"sarcasm": threshold})] == ["sarcasm"]
    assert not policy.reasons_for({"sarcasm": threshold - 0.01})
    for part in ("mini-0", "abc", "ab" * 32, "4000 posts", "flags a day", "precision"):
        assert part in text
