"""Fit temperatures on posts that the model did not learn from, and say how well that went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deadpan.core.errors import DataError
from models.checkpoint.calibration import (
    MIN_POSTS,
    PATTERNS,
    READ_OUTS,
    Array,
    Bools,
    Calibration,
    fit_temperature,
    given,
    patterns_of,
    softmax,
)
from models.checkpoint.checkpoint import CheckpointInfo
from models.data.posts_file import LabelledPost, PostsFile
from models.evaluation.judge import Report, labels_for, labels_of, prepared
from models.evaluation.metrics import expected_calibration_error, measure
from models.posts.prediction import QUESTIONS

if TYPE_CHECKING:
    from models.serving.classifier import Classifier

FOLDS = 5
"""Of the cross-validation."""

_ALONE = {"text": "text_alone", "image": "image_alone"}


@dataclass(frozen=True, slots=True)
class Logits:
    """What the heads say of posts before calibration.

    Attributes:
        posts: in the order of the rows.
        by_read_out: by read-out and head, float [posts, classes].
        has_text: bool [posts].
        has_image: bool [posts].
        of_pictures: heads that look at pictures too; the others are asked of words alone.
    """

    posts: tuple[LabelledPost, ...]
    by_read_out: dict[str, dict[str, Array]]
    has_text: Bools
    has_image: Bools
    of_pictures: Sequence[str] = tuple(QUESTIONS)

    def labels(self, head: str, read_out: str = "fused") -> npt.NDArray[np.int64]:
        """int [posts], -1 where unknown."""
        return labels_for(labels_of(self.posts), read_out, head)

    def probabilities(self, calibration: Calibration, read_out: str, head: str) -> Array:
        """Calibrated, float [posts, classes]."""
        patterns = patterns_of(self.has_text, self.has_image)[read_out]
        return calibration.probabilities(head, self.by_read_out[read_out][head], patterns)


def logits_of(
    classifier: Classifier, posts: Sequence[LabelledPost], report: Report = lambda line: None
) -> Logits:
    """Judge posts, without calibration; `report` gets lines of progress."""
    parts, masks = [], []
    for batch in prepared(classifier, posts, report):
        parts.append(classifier.logits(batch))
        masks.append(given(batch))
    return Logits(
        posts=tuple(posts),
        by_read_out={
            read_out: {
                head: np.concatenate([part[read_out][head] for part in parts])
                for head in parts[0][read_out]
            }
            for read_out in READ_OUTS
        },
        has_text=np.concatenate([mask[0] for mask in masks]),
        has_image=np.concatenate([mask[1] for mask in masks]),
        of_pictures=classifier.checkpoint.config.of_pictures,
    )


def calibrate(
    logits: Logits, files: Sequence[PostsFile], *, seed: int = 0
) -> tuple[Calibration, list[str]]:
    """Fit a temperature for every head and pattern that has enough labelled posts.

    Posts that have only words tell the temperature of words; where they are too few, the words of
    pairs do, and likewise for pictures. A pattern with fewer than `MIN_POSTS` keeps 1. A head that
    is asked of words alone has one temperature, with pictures beside the words or without.

    Returns:
        The calibration, and a sentence for every pattern that was left alone.
    """
    temperatures: dict[str, dict[str, float]] = {}
    measured: dict[str, Any] = {}
    left: list[str] = []
    for head in logits.by_read_out["fused"]:
        labels = logits.labels(head)
        if not (labels >= 0).any():
            left.append(f"{head}: the posts have no label; its temperatures stay 1")
            continue
        of_words = head not in logits.of_pictures
        for pattern in ("text",) if of_words else PATTERNS:
            chosen, read_out, source = _rows(logits, pattern, labels >= 0)
            count = int(chosen.sum())
            if count < MIN_POSTS:
                left.append(
                    f"{head}, {pattern}: {count} labelled posts; {MIN_POSTS} are needed, "
                    "its temperature stays 1"
                )
                continue
            rows = logits.by_read_out[read_out][head][chosen]
            of_side = logits.labels(head, read_out)[chosen]
            temperature, figures = _measured(rows, of_side, head, seed)
            temperatures.setdefault(head, {})[pattern] = temperature
            if of_words:
                temperatures[head]["both"] = temperature
            measured.setdefault(head, {})[pattern] = {"from": source, **figures}
    data = [{"name": file.path.name, "sha256": file.sha256, "n": len(file.posts)} for file in files]
    return Calibration(temperatures, tuple(data), measured), left


def refuse_training_data(checkpoint: CheckpointInfo, files: Sequence[PostsFile]) -> None:
    """A model is always too sure of what it learnt, so that says nothing of other posts.

    Raises:
        DataError: naming every file that the model learnt from.
    """
    learnt = {file["sha256"] for file in checkpoint.data["train"]}
    problems = [
        f"{file.path}: the model {checkpoint.version} was trained on this file; calibrate it on "
        "posts that it has not seen"
        for file in files
        if file.sha256 in learnt
    ]
    if problems:
        raise DataError(problems)


def _rows(logits: Logits, pattern: str, known: Bools) -> tuple[Bools, str, str]:
    """Which posts tell a pattern's temperature, in which read-out, and that in words."""
    has_text, has_image = logits.has_text, logits.has_image
    both = known & has_text & has_image
    if pattern == "both":
        return both, "fused", "posts with words and pictures"
    single = known & (has_text & ~has_image if pattern == "text" else has_image & ~has_text)
    word = "words" if pattern == "text" else "pictures"
    if single.sum() >= MIN_POSTS or not both.any():
        return single, _ALONE[pattern], f"posts with {word} only"
    return single | both, _ALONE[pattern], f"the {word} of posts with words and pictures"


def _measured(
    logits: Array, labels: npt.NDArray[np.int64], head: str, seed: int
) -> tuple[float, dict[str, Any]]:
    """The temperature of all posts, and what it does to posts that it was not fitted on."""
    folds = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    held_out = np.empty_like(logits)
    for fold in range(FOLDS):
        inside = folds == fold
        held_out[inside] = logits[inside] / fit_temperature(logits[~inside], labels[~inside])
    temperature = fit_temperature(logits, labels)
    before = measure(softmax(logits), labels, QUESTIONS[head], seed=seed)
    after = measure(softmax(held_out), labels, QUESTIONS[head], seed=seed)
    assert before is not None
    assert after is not None
    return temperature, {
        "n": len(labels),
        "temperature": temperature,
        "ece_before": before["ece"],
        "ece_after": after["ece"],
        "ece_of_perfect": _ece_of_perfect(softmax(held_out), seed),
        "folds": FOLDS,
    }


def _ece_of_perfect(probabilities: Array, seed: int, draws: int = 200) -> float:
    """The error that a perfectly calibrated model would show on so few posts, by chance.

    The expected calibration error is never 0 on a finite file; this is what to compare it with.
    Each draw takes the labels from the probabilities themselves.
    """
    random = np.random.default_rng(seed)
    confidence = probabilities.max(axis=1)
    found = [
        expected_calibration_error(confidence, random.random(len(confidence)) < confidence)
        for _ in range(draws)
    ]
    return float(np.mean(found))
