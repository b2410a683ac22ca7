"""Which engine runs a model: the one that is wanted, or the faster one."""

from __future__ import annotations

import logging
import platform
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deadpan.core.errors import ModelError
from models.checkpoint.checkpoint import CheckpointInfo
from models.engines import openvino_engine
from models.engines.base import Engine, available_cpus, cpu_computes_bf16
from models.engines.files import key_of, read_json, write_json
from models.engines.torch_engine import TorchEngine
from models.network.network import Network

log = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "openvino")

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
    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"device is {device!r}; it must be auto, cpu or cuda (DEADPAN_DEVICE)")
    if engine not in ENGINES:
        raise ModelError(
            f"engine is {engine!r}; it must be {', '.join(ENGINES[:-1])} or {ENGINES[-1]} "
            "(DEADPAN_ENGINE)"
        )
    if engine == "openvino":
        if device == "cuda":
            raise ModelError(
                "engine is 'openvino' and device is 'cuda'; OpenVINO runs on the CPU here: set "
                "DEADPAN_DEVICE to auto or cpu, or DEADPAN_ENGINE to auto or torch"
            )
        return "cpu"
    if device == "cpu":
        return "cpu"
    available = torch.cuda.is_available()
    if device == "cuda" and not available and not torch.version.cuda and not torch.version.hip:
        raise ModelError(
            f"device is 'cuda', and torch {torch.__version__} is built for CPUs alone; install a "
            "torch that is built for this driver's CUDA (pytorch.org says which), or set "
            "DEADPAN_DEVICE to auto or cpu"
        )
    if device == "cuda" and not available:
        raise ModelError(
            "device is 'cuda', and torch finds no GPU here; "
            "set DEADPAN_DEVICE to auto or cpu, or give the process a GPU and its driver"
        )
    return "cuda" if available else "cpu"


def open_engine(
    checkpoint: CheckpointInfo,
    load: Callable[[], Network],
    *,
    engine: str,
    device: str,
    cache_dir: Path | None = None,
    threads: int | None = None,
    compiled: bool = False,
) -> Engine:
    """Open an engine.

    "auto" takes torch on a GPU. On a CPU it measures torch and OpenVINO on texts and pictures,
    takes the faster, and keeps the result, so that the next start on this machine measures nothing.

    Args:
        checkpoint: of the model; its encoders have been checked.
        load: loads the torch network; called at most once, and not at all when all that is needed
            has been kept.
        engine: "auto", "torch" or "openvino".
        device: of `choose_device`.
        cache_dir: folder of what is kept; None keeps nothing.
        threads: CPU threads; None takes what there is.
        compiled: `torch.compile`, on a GPU only.

    Raises:
        ModelError: the engine is not installed, or cannot run this model.
        CheckpointError: the network cannot be loaded.
    """
    network = cache(load)

    def open_torch() -> Engine:
        return TorchEngine(network(), device, compiled=compiled and device == "cuda")

    def open_openvino() -> Engine:
        return openvino_engine.load_engine(
            checkpoint, network, cache_dir=cache_dir, threads=threads
        )

    if engine == "openvino":
        return open_openvino()
    if engine == "torch" or device == "cuda" or not openvino_engine.is_installed():
        return open_torch()
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
    pixels = random.integers(
        0, 256, size=(MEASURED_PICTURES, config.image_size, config.image_size, 3), dtype=np.uint8
    )
    seconds: dict[str, dict[str, list[float]]] = {
        name: {"texts": [], "pictures": []} for name in engines
    }
    for each in engines.values():
        each.warm()
    ends = time.monotonic() + MEASURE_SECONDS
    for round_ in range(ROUNDS + 1):
        # the first round does not count, so there are two at least
        if round_ > 1 and time.monotonic() > ends:
            break
        for name, each in engines.items():
            started = time.perf_counter()
            each.encode_texts(texts)
            between = time.perf_counter()
            each.encode_images(list(pixels))
            ended = time.perf_counter()
            if round_:  # the first one still sets up kernels
                seconds[name]["texts"].append(between - started)
                seconds[name]["pictures"].append(ended - between)
    counts = {"texts": MEASURED_TEXTS, "pictures": MEASURED_PICTURES}
    return {
        name: {
            what: round(counts[what] / statistics.median(times), 1)
            for what, times in by_kind.items()
        }
        for name, by_kind in seconds.items()
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
        "layout": openvino_engine.LAYOUT,
        "model": checkpoint.version,
        "openvino": openvino_engine.version(),
        "torch": str(torch.__version__),
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
