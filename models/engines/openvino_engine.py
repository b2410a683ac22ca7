"""The encoders in OpenVINO, on a CPU.

Converting takes some seconds, so the result is kept in a folder; with it, a worker starts without
the libraries that the encoders were trained with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch
from torch import Tensor, nn

from deadpan.errors import ModelError
from models.checkpoint import CheckpointInfo
from models.engines.base import image_batches, text_batches
from models.network import Network

log = structlog.get_logger(__name__)

_FORMAT = 1
"""Raise it when the converted graphs change."""

_PARTS = ("text", "image")


class OpenVinoEngine:
    """See `models.engines.Engine`."""

    name = "openvino"
    device = "cpu"

    def __init__(self, text: Any, image: Any, *, dim: int, with_states: bool) -> None:
        """Compile.

        Args:
            text: an `openvino.Model` of token ids and mask to pooled features (and states).
            image: one of pixels to regions.
            dim: width of the text's features.
            with_states: whether `text` gives states.
        """
        import openvino

        core = openvino.Core()
        low = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bfloat16" if low else "float32"
        # batches of one chunk are many, so several streams of few threads are faster than one
        # batch on all cores; the hint chooses how many
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
        }
        self._text = _Requests(core.compile_model(text, "CPU", options))
        self._image = _Requests(core.compile_model(image, "CPU", options))
        self._dim = dim
        self._with_states = with_states

    @classmethod
    def load(
        cls,
        checkpoint: CheckpointInfo,
        cache: Path | None,
        network: Callable[[], Network],
    ) -> OpenVinoEngine:
        """From the cache where it holds the model, else converted.

        Args:
            checkpoint: of the model.
            cache: folder for converted models; None converts at every start.
            network: gives the model in torch, when it must be converted.

        Raises:
            ModelError: OpenVINO is not installed, or cannot convert these encoders.
        """
        if not installed():
            raise ModelError(
                "engine is 'openvino', which is not installed; "
                "`pip install openvino`, or set DEADPAN_ENGINE to auto or torch"
            )
        import openvino

        config = checkpoint.config
        folder = None
        if cache is not None:
            identity = [_FORMAT, checkpoint.version, openvino.__version__, config.to_json()]
            name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
            folder = cache / "openvino" / name
        models = None if folder is None else _read(folder)
        if models is None:
            try:
                models = _converted(network())
            except Exception as error:  # whatever a tracer says of code that it cannot follow
                raise ModelError(
                    f"OpenVINO cannot convert {checkpoint.version}: "
                    f"{' '.join(str(error).split())[:300]}; set DEADPAN_ENGINE to torch"
                ) from error
            if folder is not None:
                _write(folder, models)
        with_states = config.fusion == "cross_attention"
        return cls(*models, dim=config.text.dim, with_states=with_states)

    def encode_texts(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
        """See `models.engines.Engine`."""
        batches = list(text_batches(token_ids))
        found = self._text([(b.token_ids.numpy(), b.attention_mask.numpy()) for b in batches])
        every = np.empty((len(token_ids), self._dim), np.float32)
        by_index: dict[int, Tensor] = {}
        for batch, outputs in zip(batches, found, strict=True):
            every[batch.rows] = outputs[0][: len(batch.rows)]
            if self._with_states:
                for index, states in zip(batch.rows, outputs[1], strict=False):
                    by_index[index] = torch.from_numpy(states[: len(token_ids[index])])
        return torch.from_numpy(every), [by_index[index] for index in sorted(by_index)]

    def encode_images(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """See `models.engines.Engine`."""
        batches = list(image_batches(pixels))
        found = self._image([(batch.numpy(),) for _, batch in batches])
        parts = [outputs[0][:count] for (count, _), outputs in zip(batches, found, strict=True)]
        return torch.from_numpy(np.concatenate(parts))


class _Requests:
    """A compiled model, and requests that are used again: making one is slow."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._lock = threading.Lock()

    def __call__(
        self, batches: Sequence[tuple[npt.NDArray[Any], ...]]
    ) -> list[tuple[npt.NDArray[np.float32], ...]]:
        """Run all batches at once; the streams of the model share them out."""
        requests = [self._request() for _ in batches]
        try:
            for request, inputs in zip(requests, batches, strict=True):
                request.start_async(dict(enumerate(inputs)), share_inputs=True)
            found = []
            for request in requests:
                request.wait()
                # copied: the request's memory is written to again
                found.append(tuple(tensor.data.copy() for tensor in request.output_tensors))
            return found
        finally:
            for request in requests:
                request.wait()
                self._free.put(request)

    def _request(self) -> Any:
        try:
            return self._free.get_nowait()
        except Empty:
            with self._lock:
                return self._compiled.create_infer_request()


def installed() -> bool:
    """Whether OpenVINO is there."""
    return importlib.util.find_spec("openvino") is not None


class _Text(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pooled, states = self.network.text_features(token_ids, attention_mask)
        return (pooled, states) if self.network.needs_regions else pooled


class _Image(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        regions = self.network.image.regions(pixels)
        return regions if self.network.needs_regions else regions.mean(dim=1, keepdim=True)


def _converted(network: Network) -> tuple[Any, Any]:
    """The encoders as OpenVINO's graphs, of any number of posts and tokens.

    By the frontend and not by `openvino.convert_model`, which reports to its maker that it was
    called.
    """
    network = network.cpu().eval()
    side = network.config.image_size
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    text = _graph(_Text(network), (ids, (ids > 0).long()), [[-1, -1], [-1, -1]])
    pixels = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    image = _graph(_Image(network), (pixels,), [[-1, side, side, 3]])
    return text, image


def _graph(module: nn.Module, example: tuple[Tensor, ...], shapes: Sequence[list[int]]) -> Any:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    types = {torch.int64: openvino.Type.i64, torch.uint8: openvino.Type.u8}
    with warnings.catch_warnings(), torch.no_grad():
        # tracing warns of every branch on a shape
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(module.eval(), example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    for value, shape, tensor in zip(model.inputs, shapes, example, strict=True):
        value.get_node().set_element_type(types[tensor.dtype])
        value.get_node().set_partial_shape(openvino.PartialShape(shape))
    model.validate_nodes_and_infer_types()
    return model


def _write(folder: Path, models: tuple[Any, Any]) -> None:
    """Keep converted models; a folder that cannot be written costs only the next conversion."""
    import openvino

    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        for name, model in zip(_PARTS, models, strict=True):
            # the trained tensors are in half precision as it is
            openvino.save_model(model, temporary / f"{name}.xml", compress_to_fp16=True)
        hashes = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / "files.json").write_text(json.dumps(hashes))
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.rename(temporary, folder)
    except (OSError, RuntimeError) as error:
        log.warning("converted model not kept", folder=str(folder), error=str(error))
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path) -> tuple[Any, Any] | None:
    """Converted models, or None when they are not there or not whole."""
    import openvino

    try:
        hashes = json.loads((folder / "files.json").read_text())
        wanted = {f"{part}.{kind}" for part in _PARTS for kind in ("xml", "bin")}
        if set(hashes) != wanted or any(_sha256(folder / n) != h for n, h in hashes.items()):
            raise ValueError("a file is not what was written")
        core = openvino.Core()
        text, image = (core.read_model(folder / f"{part}.xml") for part in _PARTS)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:
        log.warning("converted model is made again", folder=str(folder), error=str(error))
        return None
    return text, image


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
