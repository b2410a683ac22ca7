"""What a run learns: the model's questions, and labels that only training has a head for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from models.evaluation.judge import label_of, labels_for, labels_of
from models.network.config import ModelConfig
from models.posts.prediction import QUESTIONS
from models.training.corpus import Row
from models.training.settings import AUXILIARY, DataFile

UNKNOWN = -1

TEXT_SIDE = "text_alone.sentiment"
IMAGE_SIDE = "image_alone.sentiment"

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Target:
    """Something with labels to learn from.

    Attributes:
        name: a question; `TEXT_SIDE` or `IMAGE_SIDE`; "QUESTION/LABELLING"; one of `AUXILIARY`.
        labels: in the order of the logits.
        question: that it helps to answer; "" for none.
    """

    name: str
    labels: tuple[str, ...]
    question: str

    @property
    def has_own_head(self) -> bool:
        """Whether training has a head for it that the model does not have."""
        return "/" in self.name or self.name in AUXILIARY


def targets_of(
    config: ModelConfig, files: Sequence[DataFile], rows: Sequence[Row]
) -> tuple[Target, ...]:
    """All that the rows have labels for."""
    found: dict[str, Target] = {}
    for name in config.questions:
        found[name] = Target(name, QUESTIONS[name], name)
    if config.sides:
        for name in (TEXT_SIDE, IMAGE_SIDE):
            found[name] = Target(name, QUESTIONS["sentiment"], "sentiment")
    values: dict[str, set[str]] = {name: set() for name in AUXILIARY}
    for row in rows:
        file = files[row.file]
        for question, label in label_of(row.post).items():
            if label == UNKNOWN or question not in QUESTIONS:
                continue
            name = f"{question}/{file.labelling}"
            if file.labelling and name not in found:
                found[name] = Target(name, QUESTIONS[question], question)
        for name in AUXILIARY:
            if value := getattr(row.post, name):
                values[name].add(value)
    for name, labels in values.items():
        if len(labels) > 1:
            found[name] = Target(name, tuple(sorted(labels)), "")
    return tuple(found.values())


def labels_by_target(
    targets: Sequence[Target], rows: Sequence[Row], files: Sequence[DataFile]
) -> Labels:
    """int64 [rows, targets], -1 where unknown."""
    labels = labels_of([row.post for row in rows])
    found = np.full((len(rows), len(targets)), UNKNOWN, dtype=np.int64)
    for column, target in enumerate(targets):
        question, _, which = target.name.partition("/")
        if target.name in AUXILIARY:
            places = {label: place for place, label in enumerate(target.labels)}
            found[:, column] = [
                places.get(getattr(row.post, target.name) or "", UNKNOWN) for row in rows
            ]
        elif target.name == IMAGE_SIDE:
            found[:, column] = labels_for(labels, "image_alone", "sentiment")
        elif target.name == TEXT_SIDE:
            found[:, column] = labels[TEXT_SIDE]
        else:
            of_file = [
                file.labelling == which if which else question not in file.auxiliary
                for file in files
            ]
            counts = np.array(of_file, dtype=bool)[[row.file for row in rows]]
            found[:, column] = np.where(counts, labels[question], UNKNOWN)
    return found


def own_heads(targets: Sequence[Target], dim: int) -> nn.ModuleDict:
    """A linear head on the words' features for every target that has one of its own."""
    found = nn.ModuleDict()
    for one in targets:
        if one.has_own_head:
            found[_key(one.name)] = head = nn.Linear(dim, len(one.labels))
            # whatever else is learnt, it starts alike, so that a stage that ended can be taken up
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
    return found


def heads_of(heads: nn.ModuleDict, targets: Sequence[Target]) -> nn.ModuleDict:
    """The heads of some of the targets."""
    return nn.ModuleDict(
        {_key(one.name): own_head(heads, one) for one in targets if one.has_own_head}
    )


def own_head(heads: nn.ModuleDict, target: Target) -> nn.Module:
    """The head of a target."""
    return heads[_key(target.name)]


def _key(name: str) -> str:
    return name.replace("/", "_by_").replace(".", "_")
