"""What a person chooses for a training run. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from deadpan.errors import DataError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A posts file to learn from or to be measured on.

    Attributes:
        path: of the file.
        name: for the model card; the file's own name when empty.
        source: who made it, as a citation.
        licence: under which terms it may be used.
    """

    path: Path
    name: str = ""
    source: str = ""
    licence: str = "not stated"

    @property
    def title(self) -> str:
        """The name to show."""
        return self.name or self.path.name


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a run.

    Attributes:
        seed: of initial weights, order, dropout and dropped modalities.
        epochs: at most.
        batch_size: posts.
        learning_rate: at its highest, after warming up for a twentieth of the steps.
        weight_decay: of AdamW.
        patience: epochs without a better dev score before training stops.
        hidden: width of the fused layer.
        dropout: of the fused layer.
        file_balance: 1 weighs all posts alike, 0 all files alike.
    """

    seed: int = 0
    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 2e-4
    weight_decay: float = 0.05
    patience: int = 4
    hidden: int = 512
    dropout: float = 0.3
    file_balance: float = 0.7

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            DataError: naming every setting out of range.
        """
        checks = [
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("patience", self.patience >= 1, "at least 1"),
            ("hidden", 1 <= self.hidden <= 65536, "in [1, 65536]"),
            ("dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            ("file_balance", 0 <= self.file_balance <= 1, "in [0, 1]"),
            ("seed", 0 <= self.seed < 2**32, "in [0, 2**32)"),
        ]
        problems = [
            f"{name} is {getattr(self, name)}; it must be {wanted}"
            for name, good, wanted in checks
            if not good
        ]
        if problems:
            raise DataError(problems)
