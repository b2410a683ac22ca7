"""Choose an engine: by name, or the one that is fastest here."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import structlog
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deadpan.errors import CheckpointError, ModelError
from models.checkpoint import WEIGHTS_FILE, CheckpointInfo
from models.config import expected_tensors
from models.engines import openvino_engine
from models.engines.base import BATCH_SIZE, Engine
from models.engines.openvino_engine import OpenVinoEngine
from models.engines.torch_engine import TorchEngine, choose_device
from models.fusion import FusionHead
from models.network import Network

log = structlog.get_logger(__name__)

ENGINES = ("auto", "torch", "openvino")

_MEASURED_TOKENS = 32
_MEASURED_ROUNDS = 3


def open_engine(
    checkpoint: CheckpointInfo,
    *,
    engine: str = "auto",
    device: str = "auto",
    cache: Path | None = None,
    compiled: bool = False,
) -> tuple[Engine, FusionHead]:
    """Load a model into an engine.

    "auto" takes torch on a GPU. On a CPU it measures what is installed, says what it found, and
    remembers it in the cache.

    Args:
        checkpoint: of the model.
        engine: one of `ENGINES`.
        device: "auto", "cpu" or "cuda".
        cache: folder for converted models and measurements; None keeps neither.
        compiled: let `torch.compile` make torch faster on a GPU.

    Returns:
        The engine, and the head, which runs in torch on the CPU: it takes little time.

    Raises:
        ModelError: engine or device is unknown, not there, or cannot run this model.
        CheckpointError: an encoder or the weights are missing, altered or do not fit.
    """
    if engine not in ENGINES:
        raise ModelError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    device = choose_device(device)

    @functools.cache
    def network() -> Network:
        return load_network(checkpoint)

    if device == "cuda" and engine == "openvino":
        raise ModelError(
            "engine is 'openvino', which runs on a CPU here, and device is 'cuda'; "
            "set DEADPAN_ENGINE to torch, or DEADPAN_DEVICE to cpu"
        )
    if engine == "auto":
        if device == "cuda" or not openvino_engine.installed():
            engine = "torch"
        else:
            choice = None if cache is None else _choice_file(checkpoint, cache)
            engine = _remembered(choice)
            if engine == "auto":
                chosen = _fastest(checkpoint, cache, network, choice)
                return chosen, network().head
    if engine == "torch":
        whole = network()
        return TorchEngine(whole, device, compiled=compiled and device == "cuda"), whole.head
    return OpenVinoEngine.load(checkpoint, cache, network), load_head(checkpoint)


def load_network(checkpoint: CheckpointInfo) -> Network:
    """The encoders with the trained tensors over them, in evaluation mode.

    Raises:
        CheckpointError: an encoder is not there or is another one, or the weights cannot be read,
            do not fit, or are not finite numbers.
    """
    tensors = _tensors(checkpoint)
    try:
        return Network.with_weights(checkpoint.config, tensors)
    except CheckpointError as error:
        raise _unusable(checkpoint, str(error)) from error


def load_head(checkpoint: CheckpointInfo) -> FusionHead:
    """The head alone, in evaluation mode.

    Raises:
        CheckpointError: the weights cannot be read, do not fit, or are not finite numbers.
    """
    tensors = _tensors(checkpoint)
    own = {name: tensors[name].float() for name in expected_tensors(checkpoint.config)}
    broken = [name for name, tensor in own.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise _unusable(checkpoint, f"{broken[0]} holds NaN or infinity")
    head = FusionHead.from_config(checkpoint.config)
    head.load_state_dict(own)
    return head.eval().requires_grad_(False)


def _tensors(checkpoint: CheckpointInfo) -> Mapping[str, Tensor]:
    path = checkpoint.path / WEIGHTS_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be loaded: {error}; replace the folder by a whole copy"
        ) from error


def _unusable(checkpoint: CheckpointInfo, why: str) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path / WEIGHTS_FILE} cannot be used: {why}")


def _fastest(
    checkpoint: CheckpointInfo,
    cache: Path | None,
    network: functools._lru_cache_wrapper[Network],
    choice: Path | None,
) -> Engine:
    try:
        converted = OpenVinoEngine.load(checkpoint, cache, network)
    except ModelError as error:
        log.info("engine", chosen="torch", because=str(error))
        return TorchEngine(network(), "cpu")
    engines: list[Engine] = [TorchEngine(network(), "cpu"), converted]
    figures = {engine.name: round(_posts_per_second(engine, checkpoint), 1) for engine in engines}
    best = max(engines, key=lambda engine: figures[engine.name])
    log.info("engine", chosen=best.name, posts_per_second=figures)
    if choice is not None:
        try:
            choice.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = choice.with_suffix(".new")
            temporary.write_text(json.dumps({"chosen": best.name, "posts_per_second": figures}))
            temporary.replace(choice)
        except OSError as error:
            log.warning("choice of an engine not kept", file=str(choice), error=str(error))
    return best


def _posts_per_second(engine: Engine, checkpoint: CheckpointInfo) -> float:
    """Of posts of some words and a picture each; the median of some rounds."""
    side = checkpoint.config.image_size
    random = np.random.default_rng(0)
    count = 2 * BATCH_SIZE
    pictures = list(random.integers(0, 256, (count, side, side, 3), np.uint8))
    texts = [list(range(5, 5 + _MEASURED_TOKENS))] * count
    seconds = []
    for _ in range(1 + _MEASURED_ROUNDS):  # the first warms
        started = time.perf_counter()
        engine.encode_texts(texts)
        engine.encode_images(pictures)
        seconds.append(time.perf_counter() - started)
    return count / float(np.median(seconds[1:]))


def _choice_file(checkpoint: CheckpointInfo, cache: Path) -> Path:
    """Where the choice for this model, these versions and this kind of machine is kept."""
    versions = []
    for package in ("torch", "openvino"):
        try:
            versions.append(version(package))
        except PackageNotFoundError:
            versions.append("")
    config = checkpoint.config
    identity = [
        versions,
        platform.machine(),
        _cpu(),
        dataclasses.asdict(config.text),
        dataclasses.asdict(config.image),
    ]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    return cache / "engines" / f"{name}.json"


def _cpu() -> str:
    """The CPU's features, where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _remembered(choice: Path | None) -> str:
    """The engine that was chosen before; "auto" when none was, or the note cannot be read."""
    try:
        chosen = json.loads(choice.read_text())["chosen"] if choice is not None else "auto"
    except (OSError, ValueError, KeyError, TypeError):
        return "auto"
    if chosen not in ENGINES:
        return "auto"
    if chosen != "auto":
        log.info("engine", chosen=chosen, because=f"measured before, see {choice}")
    return str(chosen)
