"""Agreement beyond chance; shares, shifts and paired counts, and how far each can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, erfc, sqrt
from typing import Self

_EXACT_UP_TO = 1000
"""Above so many pairs that differ, the binomial is practically normal, and its sum takes long."""


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two people (J. Cohen, Educ. Psychol. Meas. 20, 1960).

    Args:
        pairs: what the first and the second said of each item.

    Returns:
        1 for full agreement, 0 for what chance would give; None where it is undefined: without
        items, or when both always said the same one thing.
    """
    n = len(pairs)
    if n == 0:
        return None
    observed = sum(first == second for first, second in pairs) / n
    firsts = Counter(first for first, _ in pairs)
    seconds = Counter(second for _, second in pairs)
    expected = sum(firsts[label] * seconds[label] for label in firsts) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha of nominal values (K. Krippendorff, Computing Krippendorff's
    Alpha-Reliability, 2011, section C). It takes any number of people and missing values.

    Args:
        units: what was said of each item, by whoever said something.

    Returns:
        1 for full agreement, 0 for what chance would give; None where it is undefined: without an
        item that two people judged, or when only one thing was ever said.
    """
    paired = [values for values in units if len(values) >= 2]
    totals = Counter(value for values in paired for value in values)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if expected == 0:
        return None
    differing = 0.0
    for values in paired:
        counts = Counter(values)
        same = sum(count * count for count in counts.values())
        differing += (len(values) ** 2 - same) / (len(values) - 1)
    return 1 - (n - 1) * differing / expected


def wilson(successes: float, n: float, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Share:
    """So many of `n`, with Wilson's 95 % interval; the value is None when `n` is 0."""

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
    """The mean of differences, and of their absolute values; None without any.

    Attributes:
        low, high: the mean's 95 % interval, from the standard error; None for fewer than two.
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
            often chance alone would divide the posts that tell them apart as unevenly as this;
            None if there are none.
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


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The two-sided p-value of the rank-sum test: how often two samples of one distribution are
    apart by as much (H. B. Mann, D. R. Whitney, Ann. Math. Stat. 18, 1947). It is the normal one,
    with the corrections for ties and continuity; None without values, or if all are the same.
    """
    counts = Counter((*first, *second))
    ranks: dict[float, float] = {}
    below = 0
    for value in sorted(counts):
        ranks[value] = below + (counts[value] + 1) / 2  # ties share the mean of their ranks
        below += counts[value]
    one, two, n = len(first), len(second), below
    ties = sum(count**3 - count for count in counts.values())
    if not one or not two or n**3 - n == ties:
        return None
    apart = abs(sum(ranks[value] for value in first) - one * (n + 1) / 2)
    spread = sqrt(one * two / 12 * (n + 1 - ties / (n * (n - 1))))
    return erfc(max(0.0, apart - 0.5) / spread / sqrt(2))


def mcnemar(first: int, second: int) -> float | None:
    """The two-sided p-value of McNemar's test, from the numbers of pairs in which only the first or
    only the second was right: exact up to 1000, normal above; None without any.
    """
    n = first + second
    if n == 0:
        return None
    if n > _EXACT_UP_TO:
        return erfc((abs(first - second) - 1) / sqrt(2 * n)) if first != second else 1.0
    tail = sum(comb(n, k) for k in range(min(first, second) + 1))
    return min(1.0, 2 * tail / (1 << n))
