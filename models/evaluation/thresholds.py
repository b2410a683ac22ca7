"""Thresholds that somebody chose, by a wanted precision or by the flags that people can look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deadpan.core.errors import ConfigurationError
from models.checkpoint.calibration import Calibration
from models.evaluation.calibrate import Logits
from models.evaluation.metrics import Array
from models.posts.prediction import QUESTIONS, SENTIMENTS, YES

STEPS = np.round(np.arange(1, 100) / 100, 2)
"""The thresholds to choose from. Finer ones would fit the file, and people see no difference."""

SCORES = ("sarcasm", "offensive", "hateful", *(f"sentiment.{label}" for label in SENTIMENTS))
"""Scores whose labels tell whether a flag was right, by the names that policies know."""

Z = 1.959964
"""Of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a threshold would have done on a file.

    Attributes:
        threshold: posts with at least this score are flagged.
        flagged: labelled posts that are flagged; `right` of them deserve it.
        precision: {"value", "low", "high"}, with a Wilson interval; `recall` likewise.
        share: of all posts, labelled or not, that are flagged.
    """

    threshold: float
    flagged: int
    right: int
    precision: Mapping[str, float]
    recall: Mapping[str, float]
    share: float

    def as_row(self, posts_per_day: float | None = None) -> dict[str, Any]:
        """For JSON, with the flags a day where the posts a day are known."""
        per_day = None if posts_per_day is None else self.share * posts_per_day
        return {**asdict(self), "flags_per_day": per_day}


def wilson(hits: int, total: int) -> dict[str, float]:
    """A proportion with its 95 % interval (Wilson, 1927), which holds for few posts too."""
    if total == 0:
        return {"value": 0.0, "low": 0.0, "high": 1.0}
    share = hits / total
    middle = share + Z * Z / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    scale = 1 + Z * Z / total
    return {
        "value": share,
        "low": max(0.0, (middle - half) / scale),
        "high": min(1.0, (middle + half) / scale),
    }


def rows(scores: Array, truth: npt.NDArray[np.int64]) -> list[Row]:
    """What each of `STEPS` would have done.

    Args:
        scores: float [posts].
        truth: int [posts]: 1 deserves a flag, 0 does not, -1 unknown. Unknown posts count in the
            share of flags only.
    """
    known = truth >= 0
    deserving = int((truth == 1).sum())
    found = []
    for threshold in STEPS.tolist():
        over = scores >= threshold
        flagged, right = int((over & known).sum()), int((over & (truth == 1)).sum())
        precision, recall = wilson(right, flagged), wilson(right, deserving)
        found.append(Row(threshold, flagged, right, precision, recall, float(over.mean())))
    return found


def for_precision(
    found: Sequence[Row], wanted: float, *, score: str = "the score", bound: str = "low"
) -> Row:
    """The smallest threshold that reaches a precision.

    Args:
        wanted: the precision, between 0 and 1.
        bound: "low" asks it of the lower end of the interval, so that the file's luck is not taken
            for the score's; "value" of the precision as measured.

    Raises:
        ConfigurationError: none does; the message says what can be had.
    """
    reached = [row for row in found if row.flagged and row.precision[bound] >= wanted]
    if reached:
        return reached[0]
    best = max(found, key=lambda row: (row.precision[bound], row.flagged))
    kind = "a lower bound of the precision" if bound == "low" else "a precision"
    hint = "; --by value asks it of the measured precision" if bound == "low" else ""
    raise ConfigurationError(
        f"no threshold of {score} has {kind} of {wanted:g}; the best is "
        f"{best.precision[bound]:.3f} at {best.threshold:g} ({best.right} of {best.flagged} flags "
        f"right){hint}"
    )


def for_flags(
    found: Sequence[Row], flags_per_day: float, posts_per_day: float, *, score: str = "the score"
) -> Row:
    """The smallest threshold that flags no more than people can look at.

    It holds as far as the platform's posts come as those of the file.

    Raises:
        ConfigurationError: even the highest threshold flags more.
    """
    for row in found:
        if row.share * posts_per_day <= flags_per_day:
            return row
    least = found[-1]
    raise ConfigurationError(
        f"even at {least.threshold:g}, {score} flags {least.share * posts_per_day:.0f} of "
        f"{posts_per_day:g} posts a day, not {flags_per_day:g}"
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What thresholds should reach.

    Attributes:
        precisions: by score.
        flags: at most, a day, by score.
        bound: as in `for_precision`.
    """

    precisions: Mapping[str, float]
    flags: Mapping[str, float]
    posts_per_day: float | None
    bound: str = "low"

    @property
    def scores(self) -> list[str]:
        """Those to choose a threshold for."""
        return list({**self.precisions, **self.flags})

    @classmethod
    def parse(
        cls,
        precisions: Sequence[str],
        flags: Sequence[str],
        posts_per_day: float | None,
        *,
        bound: str = "low",
    ) -> Wanted:
        """Read "SCORE=P" and "SCORE=N" each, or "N" where exactly one precision is wanted.

        Raises:
            ConfigurationError: with all that is wrong.
        """
        problems: list[str] = []
        by_precision = _by_score("--precision", precisions, problems)
        problems += [
            f"--precision {score}={value:g}: a precision must be between 0 and 1"
            for score, value in by_precision.items()
            if not 0 < value < 1
        ]
        named = [
            f"{next(iter(by_precision))}={one}"
            if "=" not in one and len(by_precision) == 1
            else one
            for one in flags
        ]
        by_flags = _by_score("--flags-per-day", named, problems)
        if by_flags and posts_per_day is None:
            problems.append("--flags-per-day needs --posts-per-day N")
        if bound not in ("low", "value"):
            problems.append(f"--by is {bound!r}; it must be low or value")
        if problems:
            raise ConfigurationError(problems)
        return cls(by_precision, by_flags, posts_per_day, bound)


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold, why it is that, and what others would have done."""

    score: str
    row: Row
    why: str
    rows: Sequence[Row]
    posts_per_day: float | None

    def as_row(self) -> dict[str, Any]:
        """As it is kept in a checkpoint and explained in a policy."""
        return {"score": self.score, "why": self.why, **self.row.as_row(self.posts_per_day)}

    def table(self) -> list[dict[str, Any]]:
        """Every threshold."""
        return [row.as_row(self.posts_per_day) for row in self.rows]


def choose(score: str, values: Array, truth: npt.NDArray[np.int64], wanted: Wanted) -> Choice:
    """The smallest threshold that gives all that is wanted of one of `SCORES`.

    Args:
        values: float [posts], of the score.
        truth: int [posts], as `rows` takes it.

    Raises:
        ConfigurationError: no threshold does, or no post has the label.
    """
    if (truth >= 0).sum() == 0:
        raise ConfigurationError(f"no post has a label for {score}; a threshold needs labels")
    found = rows(values, truth)
    candidates, why = [], []
    if score in wanted.precisions:
        precision = wanted.precisions[score]
        candidates.append(for_precision(found, precision, score=score, bound=wanted.bound))
        which = (
            "the lower 95 % bound of the precision" if wanted.bound == "low" else "the precision"
        )
        why.append(f"{which} is at least {precision:g} at {candidates[-1].threshold:g}")
    if score in wanted.flags:
        assert wanted.posts_per_day is not None
        limit = wanted.flags[score]
        candidates.append(for_flags(found, limit, wanted.posts_per_day, score=score))
        why.append(
            f"at most {limit:g} flags a day of {wanted.posts_per_day:g} posts from "
            f"{candidates[-1].threshold:g} on"
        )
    row = max(candidates, key=lambda one: one.threshold)
    return Choice(score, row, "; ".join(why), found, wanted.posts_per_day)


def score_values(
    logits: Logits, calibration: Calibration, score: str
) -> tuple[Array, npt.NDArray[np.int64]]:
    """A score of the fused read-out, float [posts], and its truth, int [posts], as in `rows`."""
    head, _, label = score.partition(".")
    column = QUESTIONS[head].index(label) if label else YES
    labels = logits.labels(head)
    values = logits.probabilities(calibration, "fused", head)[:, column]
    return values, np.where(labels < 0, -1, labels == column).astype(np.int64)


def _by_score(option: str, given: Sequence[str], problems: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in given:
        score, equals, number = one.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value) or value <= 0:
            problems.append(
                f"{option} {one}: write SCORE=NUMBER, with SCORE one of {', '.join(SCORES)}"
            )
        elif score not in SCORES:
            problems.append(f"{option} {one}: {score!r} is not one of {', '.join(SCORES)}")
        elif score in found:
            problems.append(f"{option} {one}: {score} is given twice")
        else:
            found[score] = value
    return found
