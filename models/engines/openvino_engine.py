"""OpenVINO on a CPU: encoders are converted once; torch's networks are not loaded after that."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deadpan.core.errors import ModelError
from models.checkpoint.checkpoint import CheckpointInfo
from models.engines.base import (
    available_cpus,
    cpu_computes_bf16,
    lengths_up_to,
    pad,
    split,
    text_batches,
    unpadded,
)
from models.engines.files import key_of, read_files, write_files
from models.engines.torch_engine import ImageModule, TextModule
from models.network.config import ModelConfig
from models.network.network import Network

log = logging.getLogger(__name__)

LAYOUT = 3
"""Raised whenever what is converted, or how, changes."""

TEXT_BATCH_SIZE = 16
IMAGE_BATCH_SIZE = 4
"""What one core computes at a time: larger batches leave its cache, smaller ones lose to overhead.
See docs/decisions/0007-engines.md."""

TEXT_ROWS = (1, 2, 4, 8, 12, TEXT_BATCH_SIZE)
"""Texts that are computed together; fewer are filled up. With any number of rows, memory grew by
50 MB over 6,000 posts, because buffers are kept for every shape and stream."""

MAX_STREAMS = 16
"""Streams hold buffers of their own, and a chunk of 64 pictures is 16 batches; with more cores, a
stream has several."""

MAX_DIFFERENCE = 0.1
"""Of features from torch's, relative to their length, before a conversion counts as failed; of it,
bfloat16 alone makes 0.01 to 0.03."""

_FIRST = threading.Lock()
"""Held while an engine is made; see `OpenVinoEngine._compute_alone`."""

_FILES = ("text.xml", "text.bin", "image.xml", "image.bin")


def version() -> str:
    """The version of OpenVINO that is installed; "" when none is."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return ""


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry; ModelError when it cannot be loaded.

    `import openvino` sends an event to Google Analytics unless its user has opted out, and writes
    an identity below the home folder. Its own code does without the package `openvino_telemetry`
    where that is missing, so here it is always missing.
    """
    if "openvino" not in sys.modules:
        # None in sys.modules makes every import of it an ImportError
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            f"engine 'openvino' cannot be loaded: {error}; pip install openvino, "
            "or set DEADPAN_ENGINE to auto or torch"
        ) from error
    return openvino


class OpenVinoEngine:
    """The encoders, compiled for this CPU. See `Engine`.

    Every core has a stream of its own, and a thread that feeds it: batches of all calls are spread
    over them in the order they came, so no lock is needed and no more threads compute than there
    are cores.
    """

    name = "openvino"
    device = "cpu"
    fault: str | None = None

    def __init__(
        self,
        files: dict[str, bytes],
        config: ModelConfig,
        *,
        threads: int | None = None,
        bf16: bool | None = None,
    ) -> None:
        """Compile the files of `convert`.

        Args:
            files: a graph and its weights, for texts and for pictures.
            config: of the model.
            threads: CPU threads; None takes all there are.
            bf16: multiply in bfloat16; None does where the CPU does it itself.

        Raises:
            ModelError: OpenVINO is not installed, or cannot use the files.
        """
        ov = import_openvino()
        threads = threads or available_cpus()
        self.needs_regions = config.fusion == "cross_attention"
        self.precision = "bf16" if (cpu_computes_bf16() if bf16 is None else bf16) else "fp32"
        self._config = config
        self._streams = min(threads, MAX_STREAMS)
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "NUM_STREAMS": str(self._streams),
            "INFERENCE_NUM_THREADS": threads,
            # a pinned thread waits for its core while downloads and decoding use it
            "ENABLE_CPU_PINNING": False,
        }
        self._requests = threading.local()
        self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="openvino")
        try:
            with _FIRST:
                core = ov.Core()
                self._models = {
                    name: core.compile_model(
                        core.read_model(files[f"{name}.xml"], files[f"{name}.bin"]),
                        "CPU",
                        properties,
                    )
                    for name in ("text", "image")
                }
                self._compute_alone()
        except (RuntimeError, KeyError) as error:
            raise ModelError(
                f"OpenVINO cannot use the converted model: {error}; set DEADPAN_ENGINE to torch"
            ) from error

    def encode_texts(
        self, token_ids: Sequence[Sequence[int]], *, parts: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Engine`."""
        batches = text_batches(
            [len(tokens) for tokens in token_ids],
            max_tokens=self._config.max_tokens,
            batch_size=TEXT_BATCH_SIZE,
            at_once=self._streams,
        )
        inputs = [
            pad(
                [token_ids[row] for row in batch.rows],
                rows=next(rows for rows in TEXT_ROWS if rows >= len(batch.rows)),
                tokens=batch.tokens,
            )
            for batch in batches
        ]
        wanted = (0, 1) if parts or self.needs_regions else (0,)
        found = self._pool.map(lambda batch: self._infer("text", wanted, *batch), inputs)
        return unpadded(batches, found, token_ids)

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]], *, parts: bool = False
    ) -> Tensor:
        """See `Engine`."""
        wanted = (int(parts or self.needs_regions),)

        def compute(rows: range) -> Tensor:
            return self._infer("image", wanted, np.stack(pixels[rows.start : rows.stop]))[0]

        batches = split(len(pixels), batch_size=IMAGE_BATCH_SIZE, at_once=self._streams)
        return torch.cat(list(self._pool.map(compute, batches)))

    def warm(self) -> None:
        """See `Engine`. Every stream computes every shape that there is."""
        longest, size = self._config.max_tokens, self._config.image_size

        def run() -> None:
            for count in range(1, IMAGE_BATCH_SIZE + 1):
                self._infer("image", (0,), np.zeros((count, size, size, 3), dtype=np.uint8))
            for length in lengths_up_to(longest):
                for count in TEXT_ROWS:
                    texts = pad([[0] * length] * count, rows=count, tokens=length)
                    self._infer("text", (0,), *texts)

        self._on_every_thread(run)

    def _compute_alone(self) -> None:
        """The smallest text and picture, on one thread, before there are others.

        OpenVINO's Python module (2026.4) makes tables of types when it converts its first array: in
        a C++ static, and it imports NumPy meanwhile, which lets other Python threads run. One that
        needs the same table then waits for it while it holds the interpreter's lock, which the
        first needs to finish: a deadlock of the whole process, in one of ten starts on a busy host.
        """
        size = self._config.image_size
        text = pad([[0]], rows=TEXT_ROWS[0], tokens=lengths_up_to(self._config.max_tokens)[0])
        picture = np.zeros((1, size, size, 3), dtype=np.uint8)
        for name, inputs in (("text", text), ("image", (picture,))):
            self._pool.submit(self._infer, name, (0, 1), *inputs).result()

    def _on_every_thread(self, run: Callable[[], None]) -> None:
        # whoever waits here holds its thread, so each takes one
        barrier = threading.Barrier(self._streams)

        def together() -> None:
            # should one thread get both tasks, the second runs warm instead of never
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(timeout=10)
            run()

        for done in [self._pool.submit(together) for _ in range(self._streams)]:
            done.result()

    def _infer(self, name: str, wanted: tuple[int, ...], *inputs: npt.NDArray[Any]) -> list[Tensor]:
        request = getattr(self._requests, name, None)
        if request is None:
            request = self._models[name].create_infer_request()
            setattr(self._requests, name, request)
        results = request.infer(dict(enumerate(inputs)), share_inputs=True)
        # the request's own buffers are written to again by the next batch
        return [torch.from_numpy(results[place].copy()) for place in wanted]


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
    checkpoint: CheckpointInfo,
    network: Callable[[], Network],
    *,
    cache_dir: Path | None,
    threads: int | None = None,
) -> OpenVinoEngine:
    """The engine, from kept files where they are there; else converted and kept.

    See `models.engines.choose.open_engine`; `network` is not called when the files are there.

    Raises:
        ModelError: OpenVINO is not installed, or cannot convert the encoders.
    """
    import_openvino()
    folder = cache_folder(checkpoint, cache_dir)
    files = read_files(folder) if folder is not None else None
    if files is not None and set(files) >= set(_FILES):
        return OpenVinoEngine(files, checkpoint.config, threads=threads)
    log.info("converting %s for OpenVINO, once", checkpoint.version)
    loaded = network()
    files = convert(loaded)
    engine = OpenVinoEngine(files, checkpoint.config, threads=threads)
    check_conversion(loaded, engine)
    if folder is not None:
        write_files(folder, files)
    return engine


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
        difference = relative_difference(expected, found)
        if not difference <= MAX_DIFFERENCE:
            raise ModelError(
                f"OpenVINO computes other features of {what} than torch for {network.config.name}: "
                f"they differ by {difference:.0%} of their length; set DEADPAN_ENGINE to torch"
            )


def relative_difference(expected: Tensor, found: Tensor) -> float:
    """The largest, over rows, of the distance relative to the length; [rows, …, dim] both."""
    rows, others = expected.flatten(1).double(), found.flatten(1).double()
    distance = (rows - others).norm(dim=1) / rows.norm(dim=1).clamp(min=1e-12)
    return float(distance.max())
