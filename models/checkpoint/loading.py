"""A checkpoint's tensors as torch's network, and the way back: for training and for GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from deadpan.core.errors import CheckpointError
from models.checkpoint import deltas
from models.checkpoint.checkpoint import WEIGHTS_FILE, CheckpointInfo
from models.network.foreign import PREFIX as FOREIGN
from models.network.network import Network, encoders_of

Arrays = dict[str, npt.NDArray[Any]]


def load_network(checkpoint: CheckpointInfo) -> Network:
    """The encoders with the trained tensors over them, in evaluation mode.

    Raises:
        CheckpointError: an encoder is missing or another one, or the weights cannot be used.
    """
    path = checkpoint.path / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot load {path}: {error}; replace the folder with a complete copy"
        ) from error
    network = Network(checkpoint.config)
    try:
        put_stored(network, tensors, network.state_dict())
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot use {path}: {error}; replace the folder with a complete copy"
        ) from error
    return network.eval().requires_grad_(False)


def stored_tensors(network: Network, untrained: Mapping[str, Tensor]) -> Arrays:
    """What the file of a trained network holds; see `deltas.pack`.

    Args:
        untrained: the state of a fresh network of this configuration.

    Raises:
        CheckpointError: a tensor holds NaN, infinity, or a number too large for float16.
    """
    trained = network.trained_tensors(untrained)
    return deltas.pack(_arrays(trained), _arrays(encoders_of(untrained)))


def put_stored(
    network: Network, stored: Mapping[str, npt.NDArray[Any]], untrained: Mapping[str, Tensor]
) -> None:
    """Put what `stored_tensors` gave over a network's own tensors.

    Args:
        untrained: the state of a fresh network of its configuration; it may be the network's own.

    Raises:
        CheckpointError: the tensors do not fit, or are not finite numbers.
    """
    tensors = deltas.unpack(
        {name: array for name, array in stored.items() if not name.startswith(FOREIGN)},
        _arrays(encoders_of(untrained)),
    )
    network.load_trained({name: torch.from_numpy(array) for name, array in tensors.items()})


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in tensors.items()}
