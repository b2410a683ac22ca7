"""A checkpoint on OpenVINO: its graphs are built, or converted from torch once and kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deadpan.core.errors import ModelError
from models.checkpoint.checkpoint import CheckpointInfo
from models.checkpoint.reading import load_encoders
from models.engines import graphs
from models.engines.files import key_of, read_files, write_files
from models.engines.openvino_engine import OpenVinoEngine, import_openvino, version

log = logging.getLogger(__name__)

LAYOUT = 3
"""Raised whenever what is converted, or how, changes."""

_FILES = ("text.xml", "text.bin", "image.xml", "image.bin")


def cache_folder(checkpoint: CheckpointInfo, cache_dir: Path | None) -> Path | None:
    """Where the converted encoders of a model belong, or None where nothing is to be kept.

    They are graphs before they are compiled, which takes 0.1 s, so they fit any CPU and precision.
    """
    pinned = checkpoint.config.text.sha256 and checkpoint.config.image.sha256
    if cache_dir is None or not pinned:
        return None
    identity = {"layout": LAYOUT, "model": checkpoint.version, "openvino": version()}
    return cache_dir / "openvino" / f"{checkpoint.config.name}-{key_of(identity)}"


def load_engine(
    checkpoint: CheckpointInfo, *, cache_dir: Path | None, threads: int | None = None
) -> OpenVinoEngine:
    """The engine: of graphs that are built, or else of torch's networks, converted and kept.

    See `models.engines.choose.open_engine`.

    Raises:
        ModelError: OpenVINO is not installed or cannot express the encoders, or torch is needed to
            convert them and is not installed.
        CheckpointError: the weights cannot be used.
    """
    ov = import_openvino()
    config = checkpoint.config
    reason = graphs.why_not(config)
    if not reason:
        try:
            encoders = graphs.build(ov, config, load_encoders(checkpoint))
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"OpenVINO cannot express {checkpoint.version}: {error!s:.200}; "
                "set DEADPAN_ENGINE to torch"
            ) from error
        return OpenVinoEngine(encoders, config, threads=threads)
    folder = cache_folder(checkpoint, cache_dir)
    files = read_files(folder) if folder is not None else None
    if files is not None and set(files) >= set(_FILES):
        return OpenVinoEngine(read_converted(files), config, threads=threads)
    try:
        from models.checkpoint.loading import load_network
        from models.engines.conversion import check_conversion, convert
    except ImportError as error:
        raise ModelError(torch_needed(checkpoint.version, reason)) from error
    log.info("converting %s for OpenVINO, once", checkpoint.version)
    network = load_network(checkpoint)
    files = convert(network)
    engine = OpenVinoEngine(read_converted(files), config, threads=threads)
    check_conversion(network, engine)
    if folder is not None:
        write_files(folder, files)
    return engine


def read_converted(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Graphs of the files that `conversion.convert` made; ModelError where they are none."""
    core = import_openvino().Core()
    try:
        return {
            name: core.read_model(files[f"{name}.xml"], files[f"{name}.bin"])
            for name in ("text", "image")
        }
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot read the converted model: {error}; set DEADPAN_ENGINE to torch"
        ) from error


def torch_needed(what: str, reason: str) -> str:
    """What to tell of a model that cannot run without torch."""
    return (
        f"{what} needs torch, for {reason}; install it with: pip install 'deadpan[gpu]', "
        "which serves on CPUs too"
    )
