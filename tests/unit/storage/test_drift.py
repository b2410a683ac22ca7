"""Drift and the curve of calibration, with known truth."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from storage.reports.answers import Bin, Curve
from storage.reports.drift import ALARM, BASELINE, RECENT, Drift
from storage.reports.statistics import Share, mann_whitney

THIS_WEEK = [0.31, 0.35, 0.29, 0.4, 0.42, 0.38, 0.36]
BEFORE = [0.2, 0.25, 0.33, 0.27, 0.3, 0.24, 0.28, 0.37, 0.22, 0.26, 0.32, 0.23]


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (THIS_WEEK, BEFORE, 0.006018875083133914),
        ([1, 2, 2, 3], [2, 3, 3, 4, 4, 5, 5, 6], 0.030684701526905143),
        ([1, 1, 2, 2, 3, 3], [2, 2, 1, 3], 1.0),
    ],
)
def test_the_rank_test_is_that_of_scipy(
    first: list[float], second: list[float], p_value: float
) -> None:
    """`scipy.stats.mannwhitneyu(first, second, method="asymptotic")` of SciPy 1.17.1, with ties."""
    assert mann_whitney(first, second) == pytest.approx(p_value)
    assert mann_whitney(second, first) == pytest.approx(p_value)


def test_the_rank_test_of_nothing_or_of_one_value_says_nothing() -> None:
    assert mann_whitney([], [1.0]) is None
    assert mann_whitney([1.0, 1.0], [1.0]) is None


def _alarms(shift: float) -> float:
    """The share of 2,000 histories in which a shift of so many standard deviations is called."""
    chance = random.Random(2)
    found = 0
    for _ in range(2000):
        days = [chance.gauss(0.3, 0.02) for _ in range(BASELINE)]
        days += [chance.gauss(0.3 + shift * 0.02, 0.02) for _ in range(RECENT)]
        found += Drift.of("flagged", days).shifted
    return found / 2000


def test_a_shift_is_found_and_chance_seldom_is_one() -> None:
    assert _alarms(0.0) < 1.8 * ALARM
    assert _alarms(2.5) > 0.95
    shares = [_alarms(shift) for shift in (0.0, 1.0, 2.0)]
    assert all(less < more for less, more in pairwise(shares))


def test_too_few_days_say_nothing_and_days_without_posts_are_left_out() -> None:
    few: list[float | None] = [None] * 25 + [0.3] * 3 + [0.9] * 7
    found = Drift.of("negative", few)
    assert (found.p_value, found.shifted) == (None, False)
    assert found.before == pytest.approx(0.3)
    nothing = Drift.of("negative", [None] * 35)
    assert (nothing.recent, nothing.before, nothing.p_value) == (None, None, None)
    some: list[float | None] = [0.3, None, 0.31, 0.29] * 7 + [0.9, None, None, 0.8, 0.95, 0.85, 0.7]
    shifted = Drift.of("negative", some)
    assert shifted.shifted
    assert shifted.recent == pytest.approx(0.84)


def test_a_curve_tells_a_model_that_says_it_too_often_from_one_that_may_be_right() -> None:
    bins = [Bin(0.2, 0.25, Share.of(2, 20)), Bin(0.8, 0.85, Share.of(30, 60))]
    curve = Curve.of("negative", bins)
    assert curve.score == pytest.approx((20 * 0.25 + 60 * 0.85) / 80)
    assert (curve.share.count, curve.share.n) == (32, 80)
    assert curve.bias == 1
    assert Curve.of("negative", [Bin(0.2, 0.25, Share.of(15, 20))]).bias == -1
    assert Curve.of("negative", [Bin(0.7, 0.75, Share.of(15, 20))]).bias == 0
