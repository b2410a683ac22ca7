"""What folders from a hub say of the encoders in them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import AutoConfig

from deadpan.core.errors import CheckpointError
from models.network.config import ModelConfig
from models.network.encoders import encoder_folder
from models.network.image_encoder import vision_config

_PREPROCESSOR = "preprocessor_config.json"
_Channels = TypeAdapter(tuple[float, float, float], config=ConfigDict(allow_inf_nan=False))


def described(config: ModelConfig) -> ModelConfig:
    """The configuration with the widths of its encoders, and with size and normalisation of
    pictures, as their folders give them: `config.json` in each, and `preprocessor_config.json` of
    the image encoder, whose mean and deviation are on the scale 0 to 1.

    Raises:
        CheckpointError: a folder is not there, or does not say so; or the image encoder takes
            pictures of no fixed size.
    """
    text, image = encoder_folder(config.text), encoder_folder(config.image)
    try:
        reads = AutoConfig.from_pretrained(str(text), local_files_only=True)
        sees = vision_config(image)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot tell what {config.text.location} and {config.image.location} are: {error}; "
            "replace the folder with a complete copy"
        ) from error
    size = getattr(sees, "image_size", None)
    if not isinstance(size, int):
        raise CheckpointError(
            f"{config.image.location} takes pictures of no fixed size (image_size is {size!r}); "
            "name one that does, such as google/siglip2-base-patch16-224"
        )
    mean, std = _channels(image)
    return dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, dim=reads.hidden_size),
        image=dataclasses.replace(config.image, dim=sees.hidden_size, mean=mean, std=std),
        image_size=size,
    )


def _channels(folder: Path) -> list[Any]:
    """Mean and standard deviation of each channel, on the scale 0 to 255."""
    path = folder / _PREPROCESSOR
    try:
        document = json.loads(path.read_bytes())
        return [
            tuple(255.0 * value for value in _Channels.validate_python(document[key]))
            for key in ("image_mean", "image_std")
        ]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"{path} does not say image_mean and image_std, three numbers each: "
            f"{str(error).splitlines()[0]:.200}; copy it from where the weights came from"
        ) from error
