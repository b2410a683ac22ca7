"""A checkpoint's tensors as modules: the whole network, or the head alone."""

from __future__ import annotations

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from deadpan.core.errors import CheckpointError
from models.checkpoint.checkpoint import WEIGHTS_FILE, CheckpointInfo
from models.network.fusion import FusionHead
from models.network.network import Network


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
    try:
        return Network.with_weights(checkpoint.config, tensors)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot use {path}: {error}; replace the folder with a complete copy"
        ) from error


def load_head(checkpoint: CheckpointInfo) -> FusionHead:
    """The trained head alone, on the CPU, in evaluation mode; it needs no encoder.

    Raises:
        CheckpointError: the weights cannot be read, do not fit, or are not finite numbers.
    """
    path = checkpoint.path / WEIGHTS_FILE
    head = FusionHead(checkpoint.config)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {
                name: file.get_tensor(name).float()
                for name in file.keys()  # noqa: SIM118 - it is no mapping
                if not name.startswith(("text.", "image."))
            }
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("it holds NaN or infinity")
        head.load_state_dict(tensors)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot use {path}: {error}; replace the folder with a complete copy"
        ) from error
    return head.eval().requires_grad_(False)
