"""What a person chooses for a training run. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from deadpan.core.errors import DataError
from models.network.config import one_of
from models.posts.prediction import QUESTIONS

Class = TypeVar("Class", bound=type[Any])

Positive = Annotated[int | float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[int | float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[int | float, Field(ge=0, lt=1)]
Times = Annotated[int | float, Field(gt=0, le=1000)]
Question = Annotated[str, one_of(*QUESTIONS)]

AUXILIARY = ("emotion", "emoji")
"""Labels of posts that only help training: nothing of them is in the model."""


def _not_one(value: int) -> int:
    if value == 1:
        raise ValueError("it should be 0, for none, or at least 2")
    return value


_STRICT = ConfigDict(strict=True, extra="forbid")


def refusing(cls: Class) -> Class:
    """Make a class of settings name everything that is wrong with its values in one DataError."""
    validate = cls.__init__

    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            problems: dict[str, str] = {}
            for wrong in error.errors():
                name = str(wrong["loc"][0])
                if wrong["type"] == "unexpected_keyword_argument":
                    known = ", ".join(each.name for each in fields(cls))
                    problems.setdefault(name, f"{name} is unknown; use {known}")
                else:
                    why = wrong["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
                    problems.setdefault(name, f"{name} is {wrong['input']!r}; {why}")
            raise DataError(list(problems.values())) from None

    cls.__init__ = checked
    return cls


@refusing
@dataclass(frozen=True, slots=True, config=_STRICT)
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
        labelling: who labelled it, where files of one question do not mean the same by it: each
            labelling also has a head of its own in training, on the words alone, so that the
            encoder need not settle for something between. "" for none.
        auxiliary: questions that this labelling helps in no other way: the model's own answer does
            not learn from it.
    """

    path: Path
    name: str = ""
    source: str = ""
    licence: str = "not stated"
    key: str = ""
    hold_out: Annotated[int, Field(ge=0), AfterValidator(_not_one)] = 0
    held: bool = False
    class_balance: Share = 0.5
    labelling: Annotated[str, Field(pattern=r"^[a-z0-9_-]*$")] = ""
    auxiliary: Sequence[Question] = ()

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


@refusing
@dataclass(frozen=True, slots=True, config=_STRICT)
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
        train_image_stages: how many of the last stages of the image encoder are trained, on
            pictures that are mirrored, moved and enlarged by chance.
        drop_modality: of posts with words and pictures, how often the words are hidden from the
            fused read-out, and how often the pictures.
        label_smoothing: taken from the right label and spread over all.
        text_alone_weight: of the read-out of words alone in the loss of posts that have both; the
            fused read-out has 1.
        image_alone_weight: the same for pictures alone.
        average_last: the stage ends with the mean of the weights over this last share of its steps,
            and goes through all its epochs; 0 keeps the epoch with the best dev score.
        patience: epochs without a better dev score before the stage ends.
    """

    name: str = "all"
    train: Mapping[str, Times] = field(default_factory=dict)
    epochs: PositiveInt = 3
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 3e-4
    encoder_learning_rate: Positive = 5e-5
    weight_decay: NotNegative = 0.01
    train_text_layers: NonNegativeInt | Literal["all"] = 2
    train_image_stages: NonNegativeInt = 0
    drop_modality: Annotated[int | float, Field(ge=0, lt=0.5)] = 0.1
    label_smoothing: ShareBelowOne = 0.05
    text_alone_weight: NotNegative = 0.3
    image_alone_weight: NotNegative = 0.3
    average_last: ShareBelowOne = 0.0
    patience: PositiveInt = 2


@refusing
@dataclass(frozen=True, slots=True, config=_STRICT)
class Settings:
    """Of the model and the whole run.

    Attributes:
        preset: the configuration to start from: "mini", "bert-resnet50" or "strong".
        text: for presets whose weights do not come in a package: a folder, or a name on the
            Hugging Face hub; "" for the preset's own.
        image: the same for the image encoder.
        seed: of initial weights, order, dropout and dropped modalities.
        ocr_share: of posts whose pictures hold words, how often training joins them to the post's
            own; 0 reads no pictures, and needs no OCR. Below 1, the model works without OCR too.
        fusion: "concat", "gated" or "cross_attention".
        hidden: width of the fused layer.
        dropout: of the fused layer.
        questions: what the model answers.
        of_pictures: those of them that pictures take part in.
        sides: whether annotators' labels of each side are used: see `FusionHead`.
        languages: that it learns, as ISO 639-1 codes.
        lora_rank: of LoRA beside the linear layers of the encoders' blocks, which the stages then
            train instead of the layers; 0 for none. Needs the extra `train`.
        lora_alpha: LoRA's part is multiplied by it, and divided by the rank.
    """

    preset: Literal["mini", "bert-resnet50", "strong"] = "mini"
    text: str = ""
    image: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    ocr_share: Share = 0.0
    fusion: Literal["concat", "gated", "cross_attention"] = "concat"
    hidden: Annotated[int, Field(ge=1, le=65536)] = 512
    dropout: ShareBelowOne = 0.3
    questions: Sequence[Question] = ("sentiment", "sarcasm")
    of_pictures: Sequence[Question] = ("sentiment",)
    sides: bool = False
    languages: Sequence[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]] = ("en",)
    lora_rank: NonNegativeInt = 0
    lora_alpha: PositiveInt = 32
