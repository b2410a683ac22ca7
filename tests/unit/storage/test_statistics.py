"""Shares, shifts and paired counts, against figures worked out by hand or elsewhere."""

from __future__ import annotations

from math import sqrt

import pytest

from storage.reports.statistics import Paired, Share, Shift, mcnemar


def test_mcnemar_is_exact() -> None:
    assert mcnemar(0, 0) is None
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert mcnemar(2, 10) == mcnemar(10, 2)
    assert mcnemar(6, 0) == pytest.approx(2 / 64)


def test_mcnemar_of_many_goes_on_as_it_was() -> None:
    exact, normal = mcnemar(540, 460), mcnemar(540, 461)
    assert exact is not None
    assert normal is not None
    assert exact == pytest.approx(normal, rel=0.1)
    assert mcnemar(600, 600) == 1.0
    assert mcnemar(100_000, 1) == pytest.approx(0.0, abs=1e-12)


def test_a_share_has_its_interval() -> None:
    found = Share.of(8, 10)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.4902, abs=1e-4)
    assert found.high == pytest.approx(0.9433, abs=1e-4)
    assert Share.of(0, 0) == Share(0, 0, None, 0.0, 1.0)


def test_a_shift_is_a_mean_with_its_standard_error() -> None:
    values = [0.1, -0.2, 0.4, 0.3]
    found = Shift.of(4, sum(values), sum(v * v for v in values), sum(map(abs, values)))
    variance = sum((v - 0.15) ** 2 for v in values) / 3
    assert found.mean == pytest.approx(0.15)
    assert found.low == pytest.approx(0.15 - 1.96 * sqrt(variance / 4))
    assert found.high == pytest.approx(0.15 + 1.96 * sqrt(variance / 4))
    assert found.mean_absolute == pytest.approx(0.25)
    assert Shift.of(1, 0.5, 0.25, 0.5) == Shift(0.5, None, None, 0.5)
    assert Shift.of(0, 0, 0, 0).mean is None


def test_pairs_are_told_apart() -> None:
    found = Paired.of({(True, True): 4, (True, False): 1, (False, True): 7})
    assert (found.both, found.champion_only, found.challenger_only, found.neither) == (4, 1, 7, 0)
    assert found.p_value == pytest.approx(2 * 9 / 256)
