"""Metrics of probabilities against labels, with bootstrap intervals.

Every metric is a function of a few sums over posts (how many of class A were called B, and, for
calibration, counts, confidence and hits per bin). So a thousand resamples are one matrix product:
how often each resample drew each post, times what each post adds to the sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ECE_BINS = 15
"""Bins of equal width, as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017)."""

METRICS = ("accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece")
"""Those of a whole read-out."""

_DRAWS_AT_ONCE = 4_000_000

Array = npt.NDArray[np.float64]


def measure(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    names: Sequence[str],
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any] | None:
    """Measure one read-out of one head.

    Averages over classes are over the classes that occur in labels or answers, and a precision,
    recall or F1 with nothing to divide by is 0, both as in scikit-learn. Intervals are percentiles
    of the bootstrap over posts (Efron & Tibshirani 1993), 95 %.

    Args:
        probabilities: float [posts, classes], rows that sum to 1.
        labels: int [posts].
        groups: int [posts], which posts are drawn together, because they are much alike; None where
            each is drawn by itself.

    Returns:
        "n", "accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece" and "per_class", each
        metric as {"value", "low", "high"}; None when there is no post.

    Raises:
        ValueError: probabilities, labels and names are not of one shape.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64)
    posts, classes = len(labels), len(names)
    if posts == 0:
        return None
    if probabilities.shape != (posts, classes):
        raise ValueError(f"probabilities are {probabilities.shape}, not {(posts, classes)}")
    metrics = _resampled(
        probabilities, labels, classes, groups=groups, seed=seed, resamples=resamples
    )
    result: dict[str, Any] = {"n": posts}
    for name in METRICS:
        result[name] = interval(
            metrics[name] if name != "ece" else _centred(metrics[name]).clip(0.0)
        )
    result["per_class"] = {
        label: {
            **{key: interval(metrics[key][:, index]) for key in ("precision", "recall", "f1")},
            "support": int((labels == index).sum()),
        }
        for index, label in enumerate(names)
    }
    return result


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """By how much one read-out is better than another on the same posts.

    The bootstrap is paired: each resample draws the same posts for both, so what makes a post easy
    for both does not widen the interval.

    Args:
        first, second: float [posts, classes].
        labels: int [posts], at least one.

    Returns:
        "n", and each of `METRICS` as {"value", "low", "high"}, first minus second.
    """
    labels = np.asarray(labels, dtype=np.int64)
    one, other = (
        _resampled(probabilities, labels, len(names), seed=seed, resamples=resamples)
        for probabilities in (first, second)
    )
    result: dict[str, Any] = {"n": len(labels)}
    for name in METRICS:
        difference = one[name] - other[name]
        result[name] = interval(_centred(difference) if name == "ece" else difference)
    return result


def expected_calibration_error(confidence: Array, hit: npt.NDArray[np.bool_]) -> float:
    """Of answers given with a confidence, float [posts], that were right or not, bool [posts]."""
    gaps = np.bincount(_bins(confidence), confidence - hit, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(hit))


def _bins(confidence: Array) -> npt.NDArray[np.int64]:
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)


def interval(values: Array) -> dict[str, float]:
    """Value with the 95 % percentile interval of its resamples.

    Args:
        values: float [1 + resamples]; the first is the value itself.
    """
    low, high = np.percentile(values[1:], (2.5, 97.5)) if len(values) > 1 else (values[0],) * 2
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def _centred(values: Array) -> Array:
    """Resamples moved so that their mean is the value, as `interval` takes them.

    The calibration error takes absolute values, so the noise that resampling adds makes it larger
    on average; as they are, the resamples of a small error may all lie above it.
    """
    if len(values) == 1:
        return values
    return np.concatenate((values[:1], values[1:] - values[1:].mean() + values[0]))


def draws(posts: int, *, seed: int, resamples: int) -> Iterator[Array]:
    """How often each resample drew each post: float [some resamples, posts] at a time."""
    random = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // posts)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, posts, size=(count, posts)) + np.arange(count)[:, None] * posts
        counted = np.bincount(drawn.ravel(), minlength=count * posts)
        yield counted.reshape(count, posts).astype(np.float64)


def macro_f1(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Macro F1 alone, for choosing an epoch.

    Args:
        probabilities: float [posts, classes]; any score will do whose largest is the answer.
        labels: int [posts].
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64)
    classes = probabilities.shape[1]
    cells = _confusion(probabilities.argmax(axis=1), labels, classes).sum(axis=0, keepdims=True)
    return float(_class_metrics(cells.reshape(1, classes, classes))["macro_f1"][0])


def _confusion(
    answers: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: int
) -> Array:
    """One-hot [posts, classes * classes]: label major, answer minor."""
    cells = np.zeros((len(labels), classes * classes))
    cells[np.arange(len(labels)), labels * classes + answers] = 1.0
    return cells


def _parts(probabilities: Array, labels: npt.NDArray[np.int64], classes: int) -> Array:
    """What each post adds to the sums: [posts, classes**2 + 2 * bins]."""
    rows = np.arange(len(labels))
    answers = probabilities.argmax(axis=1)
    confidence = probabilities[rows, answers]
    bins = _bins(confidence)
    per_bin = np.zeros((len(labels), 2, ECE_BINS))
    per_bin[rows, 0, bins] = confidence
    per_bin[rows, 1, bins] = answers == labels
    return np.hstack((_confusion(answers, labels, classes), per_bin.reshape(len(labels), -1)))


def _resampled(
    probabilities: npt.ArrayLike,
    labels: npt.NDArray[np.int64],
    classes: int,
    *,
    groups: npt.ArrayLike | None = None,
    **how: int,
) -> dict[str, Array]:
    """Metrics of the file itself, and of its resamples: [1 + resamples, ...]."""
    parts = _parts(np.asarray(probabilities, dtype=np.float64), labels, classes)
    if groups is not None:
        names, group = np.unique(np.asarray(groups), return_inverse=True)
        together = np.zeros((len(names), parts.shape[1]))
        np.add.at(together, group, parts)
        parts = together
    drawn = [drawn @ parts for drawn in draws(len(parts), **how)]
    return _metrics(np.concatenate((parts.sum(axis=0, keepdims=True), *drawn)), classes)


def _metrics(sums: Array, classes: int) -> dict[str, Array]:
    """Metrics of every row of sums: [rows], or [rows, classes] for those of a class."""
    confusion = sums[:, : classes * classes].reshape(-1, classes, classes)
    result = _class_metrics(confusion)
    per_bin = sums[:, classes * classes :].reshape(len(sums), 2, ECE_BINS)
    gaps = np.abs(per_bin[:, 0] - per_bin[:, 1]).sum(axis=1)
    result["ece"] = gaps / confusion.sum(axis=(1, 2))
    return result


def _class_metrics(confusion: Array) -> dict[str, Array]:
    """From confusion [rows, label, answer]."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    support, answered = confusion.sum(axis=2), confusion.sum(axis=1)
    total = support.sum(axis=1)
    precision, recall = _ratio(hits, answered), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + answered)
    occurs = (support + answered) > 0
    return {
        "accuracy": hits.sum(axis=1) / total,
        "macro_f1": (f1 * occurs).sum(axis=1) / occurs.sum(axis=1),
        "macro_recall": (recall * occurs).sum(axis=1) / occurs.sum(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / total,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
