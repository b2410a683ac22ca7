"""Agreement, against examples that were published with their results."""

from __future__ import annotations

import pytest

from storage.flags.sampling import Sampling
from storage.reports.statistics import cohen_kappa, krippendorff_alpha


def test_kappa_is_that_of_cohens_own_example() -> None:
    # J. Cohen, Educ. Psychol. Meas. 20 (1960), table 2: kappa = 0.492
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    pairs = [(a, b) for a in range(3) for b in range(3) for _ in range(table[a][b])]
    assert cohen_kappa(pairs) == pytest.approx(58 / 118)


@pytest.mark.parametrize(
    ("people", "alpha"),
    [
        # K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A, B and C
        (["0100000010", "1110010000"], 0.095),
        (["aabbdccceDda".lower(), "babbbcccedDd".lower()], 0.692),
        (["123321412...", "1233224125.3", ".3332342251.", "12332441251."], 0.743),
    ],
)
def test_alpha_is_that_of_krippendorffs_own_examples(people: list[str], alpha: float) -> None:
    units = [[said for said in unit if said != "."] for unit in zip(*people, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(alpha, abs=0.0005)


def test_what_is_not_defined_is_none() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([("a", "a")] * 3) is None
    assert krippendorff_alpha([["a"], []]) is None
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None


def test_less_than_chance_is_below_nothing() -> None:
    kappa = cohen_kappa([("a", "b"), ("b", "a")])
    alpha = krippendorff_alpha([("a", "b"), ("b", "a")])
    assert kappa == -1
    assert alpha is not None
    assert alpha < 0


def test_a_sample_is_the_same_every_time_and_another_with_another_key() -> None:
    sampling = Sampling(0.2, "k" * 32)
    chosen = {number for number in range(1, 5001) if sampling.takes(number)}
    assert 850 < len(chosen) < 1150
    assert chosen == {n for n in range(1, 5001) if Sampling(0.2, "k" * 32).takes(n)}
    assert chosen < {n for n in range(1, 5001) if Sampling(0.5, "k" * 32).takes(n)}
    assert chosen != {n for n in range(1, 5001) if Sampling(0.2, "j" * 32).takes(n)}
    assert not any(Sampling(0.0, "k").takes(n) for n in range(1, 100))
    assert all(Sampling(1.0, "k").takes(n) for n in range(1, 100))
    assert "kkk" not in repr(sampling)
