"""What a person chooses for a training run. Needs no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deadpan.core.errors import DataError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A posts file to learn from or to be measured on.

    Attributes:
        path: of the file.
        name: for the model card; the file's own name when empty.
        source: who made it, as a citation.
        licence: under which terms it may be used.
        key: by which stages name it; its title when empty.
        hold_out: of so many posts, one is not learnt from and measured on instead, chosen by a hash
            of the post id; 0 for none.
        held: whether this is what was held out, and not the rest.
        class_balance: 0 weighs all posts alike, 1 all labels alike; 0.5 is between.
    """

    path: Path
    name: str = ""
    source: str = ""
    licence: str = "not stated"
    key: str = ""
    hold_out: int = 0
    held: bool = False
    class_balance: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            DataError: naming every value out of range.
        """
        _check(
            self,
            ("hold_out", self.hold_out == 0 or self.hold_out >= 2, "0 or at least 2"),
            ("class_balance", 0 <= self.class_balance <= 1, "in [0, 1]"),
        )

    @property
    def called(self) -> str:
        """What stages call it."""
        return self.key or self.title

    @property
    def title(self) -> str:
        """The name to show."""
        return f"{self.name or self.path.name}{', held out' if self.held else ''}"

    def holds(self, post_id: str) -> bool:
        """Whether a post of the file belongs to this part of it."""
        if not self.hold_out:
            return not self.held
        number = int.from_bytes(hashlib.sha256(post_id.encode()).digest())
        return (number % self.hold_out == 0) == self.held


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a run; it starts from what the stage before it ended with.

    Attributes:
        name: for people.
        train: how often an epoch goes through a file, by its key; below 1, a share of its posts is
            taken, by a hash of the post id. Empty for all files once.
        epochs: at most.
        batch_size: posts of a step, on each device.
        learning_rate: of the head, at its highest, after warming up for a tenth of the steps.
        encoder_learning_rate: of the encoders' layers that are trained.
        weight_decay: of AdamW, on matrices.
        train_text_layers: how many of the last layers of the text encoder are trained; "all"
            includes the embeddings.
        train_image_stages: how many of the last stages of the image encoder are trained.
        drop_modality: of posts with words and pictures, how often the words are hidden from the
            fused read-out, and how often the pictures.
        borrow_images: of posts without pictures that are labelled for sarcasm only, how often one
            gets a picture of another post.
        label_smoothing: taken from the right label and spread over all.
        text_alone_weight: of the read-out of words alone in the loss of posts that have both; the
            fused read-out has 1.
        image_alone_weight: the same for pictures alone.
        average_last: the stage ends with the mean of the weights over this last share of its steps,
            and goes through all its epochs; 0 keeps the epoch with the best dev score.
        patience: epochs without a better dev score before the stage ends.
    """

    name: str = "all"
    train: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 3e-4
    encoder_learning_rate: float = 5e-5
    weight_decay: float = 0.01
    train_text_layers: int | str = 2
    train_image_stages: int = 0
    drop_modality: float = 0.1
    borrow_images: float = 0.5
    label_smoothing: float = 0.05
    text_alone_weight: float = 0.3
    image_alone_weight: float = 0.3
    average_last: float = 0.0
    patience: int = 2

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            DataError: naming every setting out of range.
        """
        layers = self.train_text_layers
        good_layers = layers == "all" if isinstance(layers, str) else layers >= 0
        _check(
            self,
            ("train", all(0 < times <= 1000 for times in self.train.values()), "above 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("encoder_learning_rate", 0 < self.encoder_learning_rate < math.inf, "above 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("train_text_layers", good_layers, 'a number of layers, or "all"'),
            ("train_image_stages", self.train_image_stages >= 0, "at least 0"),
            ("drop_modality", 0 <= self.drop_modality < 0.5, "in [0, 0.5)"),
            ("borrow_images", 0 <= self.borrow_images <= 1, "in [0, 1]"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("text_alone_weight", 0 <= self.text_alone_weight < math.inf, "at least 0"),
            ("image_alone_weight", 0 <= self.image_alone_weight < math.inf, "at least 0"),
            ("average_last", 0 <= self.average_last < 1, "in [0, 1)"),
            ("patience", self.patience >= 1, "at least 1"),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the model and the whole run.

    Attributes:
        preset: the configuration to start from: "mini" or "bert-resnet50".
        text: for presets whose weights do not come in a package: a folder, or a name on the
            Hugging Face hub; "" for the preset's own.
        image: the same for the image encoder.
        seed: of initial weights, order, dropout and dropped modalities.
        ocr_share: of posts whose pictures hold words, how often training joins them to the post's
            own; 0 reads no pictures, and needs no OCR. Below 1, the model works without OCR too.
        fusion: "concat", "gated" or "cross_attention".
        hidden: width of the fused layer.
        dropout: of the fused layer.
    """

    preset: str = "mini"
    text: str = ""
    image: str = ""
    seed: int = 0
    ocr_share: float = 0.0
    fusion: str = "concat"
    hidden: int = 512
    dropout: float = 0.3

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            DataError: naming every setting out of range.
        """
        _check(
            self,
            ("preset", self.preset in ("mini", "bert-resnet50"), "mini or bert-resnet50"),
            (
                "fusion",
                self.fusion in ("concat", "gated", "cross_attention"),
                "concat, gated or cross_attention",
            ),
            ("ocr_share", 0 <= self.ocr_share <= 1, "in [0, 1]"),
            ("hidden", 1 <= self.hidden <= 65536, "in [1, 65536]"),
            ("dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            ("seed", 0 <= self.seed < 2**32, "in [0, 2**32)"),
        )


def _check(settings: object, *checks: tuple[str, bool, str]) -> None:
    problems = [
        f"{name} is {getattr(settings, name)!r}; it must be {wanted}"
        for name, good, wanted in checks
        if not good
    ]
    if problems:
        raise DataError(problems)
