"""Where words begin in letters that were written without spaces between words. Needs no torch."""

from __future__ import annotations

import functools
import math
from pathlib import Path

_VOCABULARY = Path(__file__).parents[2] / "encoders" / "all_minilm_l6_v2" / "vocab.txt"

_LONGEST = 20
_UNKNOWN = 12.0
"""What a run of letters costs that is no word: more than most words do."""


def word_starts(letters: str) -> set[int]:
    """Where words begin in a run of letters: the most likely parting, each word as likely as its
    rank (Zipf's law), by the usual dynamic program.

    The words are those of MiniLM's vocabulary, which is in the order of how common they are in
    English; a run of another language stays one word or falls into few. 0 is always among them.
    """
    costs = _costs()
    letters = letters.lower()
    best = [(0.0, 0)]
    for end in range(1, len(letters) + 1):
        best.append(
            min(
                (
                    best[start][0] + costs.get(letters[start:end], _UNKNOWN + 3 * (end - start)),
                    start,
                )
                for start in range(max(0, end - _LONGEST), end)
            )
        )
    found, at = {0}, len(letters)
    while at:
        at = best[at][1]
        found.add(at)
    return found


@functools.cache
def _costs() -> dict[str, float]:
    """Of each word, minus the logarithm of how likely it is."""
    listed = _VOCABULARY.read_text(encoding="utf-8").splitlines()
    words = [word for word in listed if word.isalpha() and (len(word) > 1 or word in "ai")]
    scale = math.log(len(words))
    return {word: math.log((rank + 1) * scale) for rank, word in enumerate(words)}
