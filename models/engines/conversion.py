"""Encoders that torch computes as OpenVINO's graphs, for those that `graphs` does not know."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deadpan.core.errors import ModelError
from models.engines.base import pad
from models.engines.openvino_engine import OpenVinoEngine, import_openvino
from models.engines.torch_engine import ImageModule, TextModule
from models.network.network import Network

MAX_DIFFERENCE = 0.1
"""Of features from torch's, relative to their length, before a conversion counts as failed; of it,
bfloat16 alone makes 0.01 to 0.03."""


def convert(network: Network) -> dict[str, bytes]:
    """Convert the encoders of a network on the CPU, to the files of `OpenVinoEngine`, in float32.

    Raises:
        ModelError: OpenVINO cannot express them.
    """
    ov = import_openvino()
    size = network.config.image_size
    tokens = torch.ones(2, min(8, network.config.max_tokens), dtype=torch.int64)
    ids = ([-1, -1], ov.Type.i64)
    picture = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    wanted: tuple[tuple[str, nn.Module, tuple[Tensor, ...], list[Any]], ...] = (
        ("text", TextModule(network), (tokens, tokens), [ids, ids]),
        ("image", ImageModule(network), (picture,), [([-1, size, size, 3], ov.Type.u8)]),
    )
    files: dict[str, bytes] = {}
    try:
        # torch and transformers warn of their own deprecations, and of branches that tracing fixes;
        # `check_conversion` finds out whether one mattered
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            for name, module, example, inputs in wanted:
                model = ov.convert_model(module.eval(), example_input=example, input=inputs)
                files |= _serialised(ov, model, name)
    # the converter raises its own errors, torch's, and those of either's dependencies
    except Exception as error:
        raise ModelError(
            f"OpenVINO cannot convert {network.config.name}: {str(error).splitlines()[0]:.200}; "
            "set DEADPAN_ENGINE to torch"
        ) from error
    return files


def _serialised(ov: Any, model: Any, name: str) -> dict[str, bytes]:
    # exact weights, and not half precision: where there is no bfloat16 they are computed with
    with tempfile.TemporaryDirectory(prefix="deadpan-") as folder:
        path = Path(folder) / f"{name}.xml"
        ov.save_model(model, str(path), compress_to_fp16=False)
        return {file.name: file.read_bytes() for file in (path, path.with_suffix(".bin"))}


def check_conversion(network: Network, engine: OpenVinoEngine) -> None:
    """Compare with torch in float32, on texts of several lengths and pictures of noise.

    Raises:
        ModelError: features differ by more than rounding does.
    """
    random = np.random.default_rng(0)
    longest, size = network.config.max_tokens, network.config.image_size
    vocabulary = int(network.text.backbone.get_input_embeddings().num_embeddings)
    texts = [
        random.integers(0, vocabulary, size=length).tolist()
        for length in sorted({1, min(5, longest), min(21, longest), longest})
    ]
    pixels = random.integers(0, 256, size=(3, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        ids, mask = pad(texts, rows=len(texts), tokens=longest)
        pooled = TextModule(network)(torch.from_numpy(ids), torch.from_numpy(mask))[0]
        regions = ImageModule(network)(torch.from_numpy(pixels))[network.needs_regions]
    for what, expected, found in (
        ("texts", pooled, engine.encode_texts(texts)[0]),
        ("pictures", regions, engine.encode_images(list(pixels))),
    ):
        difference = relative_difference(expected.numpy(), found)
        if not difference <= MAX_DIFFERENCE:
            raise ModelError(
                f"OpenVINO computes other features of {what} than torch for {network.config.name}: "
                f"they differ by {difference:.0%} of their length; set DEADPAN_ENGINE to torch"
            )


def relative_difference(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """The largest, over rows, of the distance relative to the length; [rows, …, dim] both."""
    rows, others = (one.reshape(len(one), -1).astype(np.float64) for one in (expected, found))
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    return float((np.linalg.norm(rows - others, axis=1) / lengths).max())
