"""Shares, shifts and paired counts, each with how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb, erfc, sqrt
from typing import Self

from storage.reports.insight import wilson

_EXACT_UP_TO = 1000
"""Above so many pairs that differ, the binomial is as good as normal, and its sum is long."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many.

    Attributes:
        value: None of nothing.
        low, high: Wilson's 95 % interval.
    """

    count: int
    n: int
    value: float | None
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Self:
        """With its interval."""
        return cls(count, n, count / n if n else None, *wilson(count, n))


@dataclass(frozen=True, slots=True)
class Shift:
    """The mean of differences.

    Attributes:
        mean: None of nothing.
        low, high: its 95 % interval, from the standard error; None of fewer than two.
        mean_absolute: how far single ones differ, whichever way.
    """

    mean: float | None
    low: float | None
    high: float | None
    mean_absolute: float | None

    @classmethod
    def of(cls, n: int, total: float, squares: float, absolutes: float) -> Self:
        """From the number of differences, their sum, and the sums of squares and absolutes."""
        if n == 0:
            return cls(None, None, None, None)
        mean = total / n
        if n == 1:
            return cls(mean, None, None, absolutes)
        half = 1.96 * sqrt(max(0.0, squares - n * mean * mean) / (n - 1) / n)
        return cls(mean, mean - half, mean + half, absolutes / n)


@dataclass(frozen=True, slots=True)
class Paired:
    """Who was right, of two who judged the same posts.

    Attributes:
        both, champion_only, challenger_only, neither: posts.
        p_value: of McNemar's test (Q. McNemar, Psychometrika 12, 1947), exact and two-sided: how
            often chance alone would divide the posts that tell them apart as unevenly as this.
            None where no post tells them apart.
    """

    both: int
    champion_only: int
    challenger_only: int
    neither: int
    p_value: float | None

    @classmethod
    def of(cls, counts: Mapping[tuple[bool, bool], int]) -> Self:
        """From posts by (champion is right, challenger is right)."""
        champion, challenger = counts.get((True, False), 0), counts.get((False, True), 0)
        return cls(
            counts.get((True, True), 0),
            champion,
            challenger,
            counts.get((False, False), 0),
            mcnemar(champion, challenger),
        )


def mcnemar(first: int, second: int) -> float | None:
    """The two-sided p-value of McNemar's test.

    Args:
        first, second: pairs in which only the first, and only the second, was right.

    Returns:
        exact up to 1000 such pairs, with the normal distribution above; None of none.
    """
    n = first + second
    if n == 0:
        return None
    if n > _EXACT_UP_TO:
        return erfc((abs(first - second) - 1) / sqrt(2 * n)) if first != second else 1.0
    tail = sum(comb(n, k) for k in range(min(first, second) + 1))
    return min(1.0, 2 * tail / (1 << n))
