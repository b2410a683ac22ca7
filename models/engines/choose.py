"""Which engine runs a model: the one that is wanted, or the faster one."""

from __future__ import annotations

import logging
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from deadpan.core.errors import ModelError
from models.checkpoint.checkpoint import CheckpointInfo
from models.engines import gpus, graphs
from models.engines.base import Engine, available_cpus, cpu_computes_bf16
from models.engines.files import key_of, read_json, write_json
from models.engines.loading import LAYOUT, load_engine, torch_needed
from models.engines.openvino_engine import version

log = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "openvino")
DEVICES = ("auto", "cpu", "cuda")

MEASURED_TEXTS, MEASURED_TOKENS, MEASURED_PICTURES = 32, 24, 16
"""Posts of a platform, half of them with a new picture; tokens are the mean of a text."""

ROUNDS = 5
MEASURE_SECONDS = 5.0
"""Where rounds take longer, fewer are enough: differences are as large."""


def choose_device(device: str, engine: str = "auto") -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ModelError: unknown, not there, or not for this engine.
    """
    for name, value, known in (("device", device, DEVICES), ("engine", engine, ENGINES)):
        if value not in known:
            raise ModelError(
                f"{name} is {value!r}; it must be {', '.join(known[:-1])} or {known[-1]} "
                f"(DEADPAN_{name.upper()})"
            )
    if device == "cpu":
        return device
    if engine == "openvino":
        if device == "auto":
            return "cpu"
        raise ModelError(
            "engine is 'openvino' and device is 'cuda'; OpenVINO runs on the CPU here: set "
            "DEADPAN_DEVICE to auto or cpu, or DEADPAN_ENGINE to auto or torch"
        )
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    if torch is None:
        raise ModelError(
            "device is 'cuda', and torch is not installed; install it with: pip install "
            "'deadpan[gpu]', or set DEADPAN_DEVICE to auto or cpu"
        )
    if not torch.version.cuda and not torch.version.hip:
        raise ModelError(
            f"device is 'cuda', and torch {torch.__version__} is built for CPUs alone; install a "
            "torch that is built for this driver's CUDA (pytorch.org says which), or set "
            "DEADPAN_DEVICE to auto or cpu"
        )
    raise ModelError(
        "device is 'cuda', and torch finds no GPU here; "
        "set DEADPAN_DEVICE to auto or cpu, or give the process a GPU and its driver"
    )


def _torch() -> Any:
    """The module, or None where it is not installed: it comes with an extra."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def open_engine(
    checkpoint: CheckpointInfo,
    *,
    engine: str,
    device: str,
    cache_dir: Path | None = None,
    threads: int | None = None,
    compiled: bool = False,
) -> Engine:
    """Open an engine: "auto", "torch" or "openvino", on a device of `choose_device`.

    "auto" takes torch on a GPU. On a CPU it takes what is installed; where both are, it measures
    torch and OpenVINO on texts and pictures, takes the faster, and keeps the result, so that the
    next start here measures nothing.

    Args:
        checkpoint: of the model; its encoders have been checked.
        cache_dir: folder of what is kept; None keeps nothing.
        threads: CPU threads; None takes what there is.
        compiled: `torch.compile`, on a GPU only.

    Raises:
        ModelError: the engine is not installed, or cannot run this model.
        CheckpointError: the network cannot be loaded.
    """

    def open_torch() -> Engine:
        torch = _torch()
        if torch is None:
            reason = graphs.why_not(checkpoint.config) or "OpenVINO is not installed here"
            raise ModelError(torch_needed(checkpoint.version, reason))
        from models.checkpoint.loading import load_network
        from models.engines.torch_engine import TorchEngine

        if threads is not None:
            torch.set_num_threads(threads)
        network = load_network(checkpoint)
        return TorchEngine(network, device, compiled=compiled and device == "cuda")

    def open_openvino() -> Engine:
        return load_engine(checkpoint, cache_dir=cache_dir, threads=threads)

    if engine == "openvino":
        return open_openvino()
    if engine == "torch" or device == "cuda" or not version():
        return open_torch()
    if _torch() is None:
        return open_openvino()
    identity = _machine(checkpoint, threads)
    path = cache_dir / "engines" / f"{key_of(identity)}.json" if cache_dir is not None else None
    chosen, told = _kept_choice(path)
    if chosen == "torch":
        log.info("engine is torch, as measured before: %s", told)
        return open_torch()
    try:
        found = open_openvino()
    except ModelError as error:
        # not kept: another release, or a repaired installation, may be able to
        log.warning("engine is torch: %s", error)
        return open_torch()
    if chosen == "openvino":
        log.info("engine is openvino, as measured before: %s", told)
        return found
    engines = {"torch": open_torch(), "openvino": found}
    figures = measure(engines, checkpoint)
    chosen = min(figures, key=lambda name: _seconds_per_post(figures[name]))
    log.info("engine is %s: %s", chosen, _told(figures))
    if path is not None:
        write_json(path, {"chosen": chosen, "items_per_second": figures, "on": identity})
    return engines[chosen]


def measure(engines: dict[str, Engine], checkpoint: CheckpointInfo) -> dict[str, dict[str, float]]:
    """Texts and pictures a second, by engine: medians of rounds that take turns."""
    config = checkpoint.config
    random = np.random.default_rng(0)
    lengths = random.integers(1, min(2 * MEASURED_TOKENS, config.max_tokens), size=MEASURED_TEXTS)
    texts = [[0] * int(length) for length in lengths]
    shape = (MEASURED_PICTURES, config.image_size, config.image_size, 3)
    pixels = list(random.integers(0, 256, size=shape, dtype=np.uint8))
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for each in engines.values():
        each.warm()
    ends = time.monotonic() + MEASURE_SECONDS
    # the first round still sets up kernels and does not count, so there are two at least
    for round_ in range(ROUNDS + 1):
        if round_ > 1 and time.monotonic() > ends:
            break
        for name, each in engines.items():
            started = time.perf_counter()
            each.encode_texts(texts)
            between = time.perf_counter()
            each.encode_images(pixels)
            if round_:
                seconds[name].append((between - started, time.perf_counter() - between))
    return {
        name: {
            "texts": round(MEASURED_TEXTS / statistics.median(text for text, _ in times), 1),
            "pictures": round(
                MEASURED_PICTURES / statistics.median(image for _, image in times), 1
            ),
        }
        for name, times in seconds.items()
    }


def _kept_choice(path: Path | None) -> tuple[str, str]:
    """The engine that was chosen before and the figures it was chosen by; "" twice if none was."""
    kept: Any = read_json(path) if path is not None else None
    try:
        return str(kept["chosen"]), _told(kept["items_per_second"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return "", ""


def _seconds_per_post(rates: dict[str, float]) -> float:
    return 1 / rates["texts"] + MEASURED_PICTURES / MEASURED_TEXTS / rates["pictures"]


def _told(figures: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{name} {rates['texts']:.0f} texts/s and {rates['pictures']:.0f} pictures/s"
        for name, rates in figures.items()
    )


def _machine(checkpoint: CheckpointInfo, threads: int | None) -> dict[str, Any]:
    """All that the choice depends on."""
    return {
        "layout": LAYOUT,
        "model": checkpoint.version,
        "openvino": version(),
        "torch": gpus.torch_version(),
        "cpu": _cpu_name(),
        "bf16": cpu_computes_bf16(),
        "threads": threads or available_cpus(),
    }


def _cpu_name() -> str:
    """With its features, where Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags", "CPU part", "Features")
    return key_of({line.split(":")[0].strip(): line for line in lines if line.startswith(wanted)})
