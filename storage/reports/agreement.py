"""How much people agree beyond chance, as small functions of what they said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two people (J. Cohen, Educ. Psychol. Meas. 20, 1960).

    Args:
        pairs: what the first and what the second said, an item each.

    Returns:
        1 for agreement throughout, 0 for what chance would give; None where it is not defined:
        without items, or when both always said the same one thing.
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
        1 for agreement throughout, 0 for what chance would give; None where it is not defined:
        without an item that two people spoke of, or when only one thing was ever said.
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
