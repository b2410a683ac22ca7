"""Metrics agree with scikit-learn, and their intervals with statistics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from models.evaluation.metrics import ECE_BINS, macro_f1, measure
from models.posts.prediction import SENTIMENTS


def answers(posts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.choice(3, size=posts, p=[0.2, 0.2, 0.6])
    logits = random.normal(size=(posts, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


@pytest.mark.parametrize("posts", [1, 2, 7, 500])
def test_every_metric_agrees_with_scikit_learn(posts: int) -> None:
    probabilities, labels = answers(posts)
    predicted = probabilities.argmax(axis=1)
    measured = measure(probabilities, labels, SENTIMENTS, resamples=20)
    assert measured is not None
    assert measured["n"] == posts
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro", zero_division=0),
        "weighted_f1": f1_score(labels, predicted, average="weighted", zero_division=0),
        "macro_recall": recall_score(labels, predicted, average="macro", zero_division=0),
    }
    for name, value in expected.items():
        assert measured[name]["value"] == pytest.approx(value)
    assert macro_f1(probabilities, labels) == pytest.approx(expected["macro_f1"])
    by_class = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=0)
    for index, label in enumerate(SENTIMENTS):
        for name, values in zip(("precision", "recall", "f1"), by_class[:3], strict=True):
            assert measured["per_class"][label][name]["value"] == pytest.approx(values[index])
        assert measured["per_class"][label]["support"] == by_class[3][index]


def test_calibration_error_is_the_weighted_gap_of_each_bin() -> None:
    probabilities, labels = answers(400)
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for number in range(ECE_BINS):
        inside = (confidence > number / ECE_BINS) & (confidence <= (number + 1) / ECE_BINS)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    measured = measure(probabilities, labels, SENTIMENTS, resamples=20)
    assert measured is not None
    assert measured["ece"]["value"] == pytest.approx(expected)


def test_the_interval_of_an_accuracy_is_that_of_a_proportion() -> None:
    probabilities, labels = answers(1000)
    measured = measure(probabilities, labels, SENTIMENTS, resamples=4000)
    assert measured is not None
    accuracy = measured["accuracy"]
    half = 1.96 * np.sqrt(accuracy["value"] * (1 - accuracy["value"]) / 1000)
    assert accuracy["low"] == pytest.approx(accuracy["value"] - half, abs=0.006)
    assert accuracy["high"] == pytest.approx(accuracy["value"] + half, abs=0.006)


def test_intervals_shrink_with_posts_and_repeat_with_the_seed() -> None:
    few = measure(*answers(100), SENTIMENTS)
    many = measure(*answers(10_000), SENTIMENTS)
    assert few is not None
    assert many is not None
    assert few["macro_f1"]["high"] - few["macro_f1"]["low"] > 4 * (
        many["macro_f1"]["high"] - many["macro_f1"]["low"]
    )
    assert few == measure(*answers(100), SENTIMENTS)
    assert few != measure(*answers(100), SENTIMENTS, seed=1)


def test_no_posts_have_no_metrics_and_wrong_shapes_are_refused() -> None:
    assert measure(np.zeros((0, 3)), [], SENTIMENTS) is None
    with pytest.raises(ValueError, match="probabilities are"):
        measure(np.ones((2, 2)) / 2, [0, 1], SENTIMENTS)


def test_the_interval_of_a_calibration_error_holds_the_error() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), 300)
    labels = (probabilities.cumsum(axis=1) < random.random((300, 1))).sum(axis=1)
    measured = measure(probabilities, labels, SENTIMENTS)
    assert measured is not None
    ece = measured["ece"]
    assert 0.0 <= ece["low"] < ece["value"] < ece["high"] < 0.15
