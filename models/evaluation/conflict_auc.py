"""How well a score tells posts whose words and picture contradict each other: the AUC."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.judge import Judged
from models.evaluation.metrics import Array, draws, interval


def auc(
    scores: npt.ArrayLike, truth: npt.ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Any] | None:
    """Area under the ROC curve: how often a true post scores above a false one; a tie is half.

    Args:
        scores: float [posts].
        truth: bool [posts].

    Returns:
        {"n", "true", "value", "low", "high"}; None unless there are posts of both kinds.
    """
    scores = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(truth, dtype=bool)
    if truth.all() or not truth.any():
        return None
    ranks = np.unique(scores, return_inverse=True)[1]
    # columns are distinct scores in order, so that every resample is two rows of counts
    at_rank = np.zeros((len(scores), ranks.max() + 1))
    at_rank[np.arange(len(scores)), ranks] = 1.0
    drawn = draws(len(scores), seed=seed, resamples=resamples)
    weights = np.vstack((np.ones(len(scores)), *drawn))
    positive = (weights * truth) @ at_rank
    negative = (weights * ~truth) @ at_rank
    below = negative.cumsum(axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    found = np.divide(
        (positive * below).sum(axis=1), pairs, out=np.full(len(pairs), 0.5), where=pairs > 0
    )
    return {"n": len(scores), "true": int(truth.sum()), **interval(found)}


def conflict_scores(judged: Judged) -> dict[str, Array]:
    """Ways to say how far words and pictures differ, float [posts] each; NaN without one of them.

    "disagreement" is the total variation of the two sentiments, as policies know it. "opposition"
    is the probability that one is positive and the other negative, were both drawn; neutral on
    one side is no conflict to it.
    """
    text, image = judged.answers["text_alone"], judged.answers["image_alone"]
    p, q = text.of["sentiment"], image.of["sentiment"]
    found = {
        "disagreement": 0.5 * np.abs(p - q).sum(axis=1),
        "opposition": p[:, 0] * q[:, 2] + p[:, 2] * q[:, 0],
    }
    both = text.given & image.given
    return {name: np.where(both, values, np.nan) for name, values in found.items()}


def measure_conflict(
    consistent: Judged, conflicting: Judged, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Any]:
    """Whether disagreement finds posts whose words and picture contradict each other.

    Returns:
        Each of `conflict_scores` with its `auc`; posts without words or picture are left out.
    """
    found = {}
    others = conflict_scores(conflicting)
    for name, low in conflict_scores(consistent).items():
        low, high = (values[~np.isnan(values)] for values in (low, others[name]))
        truth = np.repeat([False, True], [len(low), len(high)])
        found[name] = auc(np.concatenate((low, high)), truth, seed=seed, resamples=resamples)
    return found
