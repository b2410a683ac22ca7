"""The encoders' own tensors as arrays, by the names that torch's networks give them. No torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from deadpan.core.errors import CheckpointError
from models.network.config import EncoderConfig, ModelConfig
from models.network.encoders import check_encoder
from models.network.state_dicts import read_state_dict

Arrays = dict[str, npt.NDArray[Any]]

BLOCKS = {"tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1)}
"""Blocks in each stage of the architectures whose weights and graph are known without timm."""


def own_tensors(config: ModelConfig) -> Arrays:
    """Tensors of both encoders, each name with "text." or "image." before it, as a checkpoint has
    them.

    Raises:
        CheckpointError: an encoder is not there, is another one, or cannot be read.
    """
    found = {f"text.{name}": array for name, array in _read(config.text).items()}
    image = _read(config.image)
    if config.image.key_style == "lukemelas":
        blocks = BLOCKS[config.image.architecture]
        image = {timm_key(name, blocks): array for name, array in image.items()}
    return found | {f"image.{name}": array for name, array in image.items()}


def _read(config: EncoderConfig) -> Arrays:
    path = check_encoder(config) / config.weights
    try:
        found: Arrays = load_file(path) if _is_safe(path) else read_state_dict(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot load {path}: {error}; replace {path.parent} with a complete copy"
        ) from error
    return {name.removeprefix("bert."): array for name, array in found.items()}


def _is_safe(path: Path) -> bool:
    return path.suffix == ".safetensors"


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
    """EfficientNet-PyTorch's name of a tensor, such as `_blocks.3._bn0.weight`, as timm names it.

    EfficientNet-PyTorch numbers blocks through; `blocks_in_stages` is how many each stage of timm's
    model has. Raises KeyError for a name that neither knows.
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
