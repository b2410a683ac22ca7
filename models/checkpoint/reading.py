"""A checkpoint's tensors as arrays: the encoders', the head, and what reads other languages.

Needs no torch: it is what a worker on a CPU loads. `models.checkpoint.loading` makes torch's
networks of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from deadpan.core.errors import CheckpointError
from models.checkpoint import deltas
from models.checkpoint.checkpoint import WEIGHTS_FILE, CheckpointInfo
from models.network.foreign import PREFIX as FOREIGN
from models.network.foreign import ForeignWords
from models.network.head import Head
from models.network.own_tensors import own_tensors

Arrays = dict[str, npt.NDArray[Any]]

ENCODERS = ("text.", "image.")
"""How names of the encoders' tensors begin."""


def load_encoders(checkpoint: CheckpointInfo) -> Arrays:
    """Both encoders' tensors as training left them, by the checkpoint's names.

    Raises:
        CheckpointError: an encoder is missing or another one, or the weights cannot be used.
    """
    found = own_tensors(checkpoint.config)
    trained = deltas.unpack(_read(checkpoint, lambda name: name.startswith(ENCODERS)), found)
    problems = [
        f"{name} is unknown" if name not in found else f"{name} does not fit"
        for name, tensor in trained.items()
        if name not in found or found[name].shape != tensor.shape
    ]
    if problems:
        raise _unusable(checkpoint, "; ".join(problems[:10]))
    return found | trained


def load_head(checkpoint: CheckpointInfo) -> Head:
    """The trained head; it needs no encoder.

    Raises:
        CheckpointError: the weights cannot be read, or are not finite numbers.
    """
    others = (*ENCODERS, FOREIGN)
    return Head(checkpoint.config, _read(checkpoint, lambda name: not name.startswith(others)))


def load_foreign(checkpoint: CheckpointInfo) -> ForeignWords | None:
    """What reads words that are not English; None for a model that has no such thing.

    Raises:
        CheckpointError: its encoder is missing or another one, or the weights cannot be used.
    """
    if checkpoint.config.multilingual is None:
        return None
    tensors = _read(checkpoint, lambda name: name.startswith(FOREIGN))
    return ForeignWords.load(checkpoint.config, tensors)


def _read(checkpoint: CheckpointInfo, wanted: Callable[[str], bool]) -> Arrays:
    """The tensors of the file with these names."""
    try:
        with safe_open(checkpoint.path / WEIGHTS_FILE, framework="numpy") as file:
            tensors = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 - it is no mapping
                if wanted(name)
            }
    except (OSError, SafetensorError) as error:
        raise _unusable(checkpoint, str(error)) from error
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise _unusable(checkpoint, "it holds NaN or infinity")
    return tensors


def _unusable(checkpoint: CheckpointInfo, why: str) -> CheckpointError:
    path = checkpoint.path / WEIGHTS_FILE
    return CheckpointError(f"cannot use {path}: {why}; replace the folder with a complete copy")
