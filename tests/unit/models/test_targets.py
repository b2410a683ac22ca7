"""What a run learns: questions, labellings with heads of their own, and the labels of each side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from models.data.records import LabelledPost
from models.network.presets import mini_config
from models.training.corpus import Row
from models.training.settings import DataFile
from models.training.targets import (
    IMAGE_SIDE,
    TEXT_SIDE,
    heads_of,
    labels_by_target,
    own_head,
    own_heads,
    targets_of,
)

CONFIG = mini_config("test")

FILES = (
    DataFile(Path("plain.jsonl")),
    DataFile(Path("irony.jsonl"), labelling="irony"),
    DataFile(Path("authors.jsonl"), labelling="authors"),
    DataFile(Path("help.jsonl"), labelling="help", auxiliary=("sarcasm",)),
)


def row(file: int, **labels: Any) -> Row:
    return Row(LabelledPost("1", "a", **labels), file, "a", (1,), ())


SARCASM = [row(1, sarcastic=True), row(2, sarcastic=False), row(3, sarcastic=True)]


def test_the_answer_learns_from_every_labelling_that_is_not_auxiliary() -> None:
    rows = [row(0, sentiment="neutral"), *SARCASM, row(3, sentiment="negative")]
    targets = targets_of(CONFIG, FILES, rows)
    assert [(one.name, one.question, one.has_own_head) for one in targets] == [
        ("sentiment", "sentiment", False),
        ("sarcasm", "sarcasm", False),
        ("sarcasm/irony", "sarcasm", True),
        ("sarcasm/authors", "sarcasm", True),
        ("sarcasm/help", "sarcasm", True),
        ("sentiment/help", "sentiment", True),
    ]
    assert labels_by_target(targets, rows, FILES).tolist() == [
        [1, -1, -1, -1, -1, -1],
        [-1, 1, 1, -1, -1, -1],
        [-1, 0, -1, 0, -1, -1],
        [-1, -1, -1, -1, 1, -1],
        [0, -1, -1, -1, -1, 0],
    ]
    assert labels_by_target(targets, [], FILES).shape == (0, 6)


def test_words_that_only_help_training_are_labels_where_they_differ() -> None:
    rows = [row(0, emotion="joy", emoji="x"), row(0, emotion="anger", emoji="x"), row(0)]
    *_, emotion = targets = targets_of(CONFIG, FILES, rows)
    assert (emotion.name, emotion.labels, emotion.question) == ("emotion", ("anger", "joy"), "")
    assert labels_by_target(targets, rows, FILES)[:, -1].tolist() == [1, 0, -1]
    # a word that no training post has is unknown, as in a dev file
    other = labels_by_target(targets, [row(0, emotion="fear")], FILES)
    assert other[:, -1].tolist() == [-1]


def test_sides_are_targets_where_the_model_uses_them() -> None:
    rows = [
        row(0, sentiment="positive", text_sentiment="neutral", image_sentiment="positive"),
        row(0, sentiment="negative"),
    ]
    config = dataclasses.replace(CONFIG, sides=True)
    targets = targets_of(config, FILES, rows)
    assert [one.name for one in targets] == ["sentiment", "sarcasm", TEXT_SIDE, IMAGE_SIDE]
    # a picture whose side was not labelled has the post's label, as it has without sides
    labels = labels_by_target(targets, rows, FILES)
    assert labels.tolist() == [[2, -1, 1, 2], [0, -1, -1, 0]]
    assert [one.name for one in targets_of(CONFIG, FILES, rows)] == ["sentiment", "sarcasm"]


def test_questions_that_are_not_asked_have_the_heads_of_their_labellings_alone() -> None:
    rows = [row(0, offensive=True), row(1, offensive=True)]
    names = [one.name for one in targets_of(CONFIG, FILES, rows)]
    assert names == ["sentiment", "sarcasm", "offensive/irony"]


def test_heads_start_alike_whatever_else_is_learnt() -> None:
    few, many = (targets_of(CONFIG, FILES, rows) for rows in (SARCASM[:1], SARCASM))
    found = [own_heads(targets, CONFIG.text.dim) for targets in (few, many)]
    (first,), (again, *_) = (heads.values() for heads in found)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert own_head(found[1], many[2]) is again
    assert list(heads_of(found[1], few)) == list(found[0])
