"""What an order looks at: a flag as a row of numbers, and which of them moved it."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np

from storage.base.text import UNKNOWN_LANGUAGE
from storage.flags.placing import Known
from storage.tables import OF_WORDS, SCORES
from tasks.order.logistic import Floats

#: Words are counted in so many places, each in the one that its checksum says: what an order learnt
#: holds no word of anybody.
WORD_PLACES: Final = 512
_MAX_RULES: Final = 40
_MAX_LANGUAGES: Final = 12
_SEEN_OFTEN: Final = 5
"""A rule or language that fewer flags have teaches nothing."""
_WORD: Final = re.compile(r"\w+")
_ALONE: Final = tuple(f"{side}.{name}" for side in ("text_alone", "image_alone") for name in SCORES)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the numbers of a row stand for.

    Attributes:
        rules, languages: those that enough flags had.
        authors: whether an author's record counts.
    """

    rules: tuple[str, ...]
    languages: tuple[str, ...]
    authors: bool

    @classmethod
    def of(cls, flags: Sequence[Known], *, authors: bool) -> Self:
        """The columns for flags that are learnt from."""
        rules = Counter(rule for flag in flags for rule in set(flag.rules))
        languages = Counter(flag.language for flag in flags)
        del languages[UNKNOWN_LANGUAGE]
        return cls(_often(rules, _MAX_RULES), _often(languages, _MAX_LANGUAGES), authors)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """As they were stored."""
        return cls(tuple(row["rules"]), tuple(row["languages"]), bool(row["authors"]))

    def as_row(self) -> dict[str, Any]:
        """As they are stored."""
        return asdict(self)

    @property
    def groups(self) -> list[str]:
        """For each number that is no word: what people call it; of rules, `rule NAME`."""
        return [group for group, _ in self._numbers(_NOBODY)]

    def rows(self, flags: Sequence[Known]) -> Floats:
        """Numbers [flags, len(groups) + WORD_PLACES], words last."""
        found = np.zeros((len(flags), len(self.groups) + WORD_PLACES), np.float32)
        for n, flag in enumerate(flags):
            plain = [value for _, value in self._numbers(flag)]
            found[n, : len(plain)] = plain
            for place, sign in _places(flag.words):
                found[n, len(plain) + place] += sign
        words = found[:, -WORD_PLACES:]
        norms = np.linalg.norm(words, axis=1, keepdims=True)
        np.divide(words, norms, out=words, where=norms > 0)
        return found

    def _numbers(self, flag: Known) -> Iterator[tuple[str, float]]:
        for name in (*SCORES, *OF_WORDS):
            yield "scores", log_odds(flag.scores.get(name))
        for name in _ALONE:
            side, _, score = name.partition(".")
            yield "scores", log_odds(getattr(flag, side).get(score))
        yield "scores", float("offensive" in flag.scores)
        yield "words", float(bool(flag.text_alone))
        yield "pictures", float(bool(flag.image_alone))
        yield "pictures", float(flag.pictures > 1)
        yield "what could not be read", float(flag.incomplete)
        yield "language", float(flag.unlearnt)
        yield "priority", flag.priority / 100
        for rule in self.rules:
            yield f"rule {rule}", float(rule in flag.rules)
        for language in self.languages:
            yield "language", float(flag.language == language)
        if self.authors:
            # One approval and one removal more for everybody: nobody is judged by a single flag.
            share = (flag.author_removed + 1) / (flag.author_decided + 2)
            yield "author", float(np.log(share / (1 - share)))
            yield "author", float(np.log1p(flag.author_decided))


_NOBODY: Final = Known(
    id=0, post_id="", priority=0, opened_at=None, closed_at=None, author=None, language="",  # type: ignore[arg-type]
    rules=(), scores={}, text_alone={}, image_alone={}, pictures=0, incomplete=False,
    unlearnt=False, words="", removed=None,
)  # fmt: skip


def _often(counted: Counter[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(each for each, n in counted.most_common(most) if n >= _SEEN_OFTEN))


def log_odds(score: float | None) -> float:
    """Of a score, bounded; 0, as of a score of one half, where there is none."""
    if score is None:
        return 0.0
    safe = min(max(float(score), 0.005), 0.995)
    return float(np.log(safe / (1 - safe)))


def _places(words: str) -> Iterator[tuple[int, int]]:
    """Where a text's distinct words and pairs of words are counted, and with which sign (feature
    hashing: K. Weinberger and others, ICML 2009).
    """
    said = _WORD.findall(words)
    pairs = (f"{first} {second}" for first, second in pairwise(said))
    for each in {*said, *pairs}:
        number = zlib.crc32(each.encode("utf-8", "replace"))
        yield number % WORD_PLACES, 1 if number & 0x8000_0000 else -1
