"""OpenVINO on a CPU: graphs of encoders that are built from their weights, or converted once.

Needs no torch but to convert.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from deadpan.core.errors import ModelError
from models.engines.base import (
    Floats,
    available_cpus,
    cpu_computes_bf16,
    lengths_up_to,
    pad,
    split,
    text_batches,
    unpadded,
)
from models.network.config import ModelConfig

TEXT_BATCH_SIZE = 16
IMAGE_BATCH_SIZE = 4
"""What one core computes at a time: larger batches leave its cache, smaller ones lose to overhead.
See docs/decisions/0007-engines.md."""

TEXT_ROWS = (1, 2, 4, 8, 12, TEXT_BATCH_SIZE)
"""Texts that are computed together; fewer are filled up. With any number of rows, memory grew by
50 MB over 6,000 posts, because buffers are kept for every shape and stream."""

WARM_TOKENS = 512
"""Of a batch of texts that is computed before the first post: setting up a shape costs 1 to 5 ms,
once, and what is larger takes many times that anyway."""

MAX_STREAMS = 16
"""Streams hold buffers of their own, and a chunk of 64 pictures is 16 batches; with more cores, a
stream has several."""

_FIRST = threading.Lock()
"""Held while an engine is made; see `OpenVinoEngine._compute_alone`."""


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
        encoders: Mapping[str, Any],
        config: ModelConfig,
        *,
        threads: int | None = None,
        bf16: bool | None = None,
    ) -> None:
        """Compile graphs for this CPU.

        Args:
            encoders: OpenVINO's models of "text" and "image", as `graphs.build` makes them.
            config: of the model.
            threads: CPU threads; None takes all there are.
            bf16: multiply in bfloat16; None does where the CPU does it itself.

        Raises:
            ModelError: OpenVINO is not installed, or cannot use the graphs.
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
        # The head multiplies in NumPy, whose BLAS wakes a thread for each core and lets it spin for
        # the next product, on the cores that the streams need: twice the CPU a post.
        threadpool_limits(1, user_api="blas")
        self._requests = threading.local()
        self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="openvino")
        try:
            with _FIRST:
                core = ov.Core()
                self._models = {
                    name: core.compile_model(encoders[name], "CPU", properties)
                    for name in ("text", "image")
                }
                self._compute_alone()
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot use the model: {error}; set DEADPAN_ENGINE to torch"
            ) from error

    def encode_texts(
        self, token_ids: Sequence[Sequence[int]], *, parts: bool = False
    ) -> tuple[Floats, list[Floats]]:
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
    ) -> Floats:
        """See `Engine`."""
        wanted = (int(parts or self.needs_regions),)

        def compute(rows: range) -> Floats:
            return self._infer("image", wanted, np.stack(pixels[rows.start : rows.stop]))[0]

        batches = split(len(pixels), batch_size=IMAGE_BATCH_SIZE, at_once=self._streams)
        return np.concatenate(list(self._pool.map(compute, batches)))

    def warm(self) -> None:
        """See `Engine`. Every stream computes every shape whose setting up would be felt."""
        longest, size = self._config.max_tokens, self._config.image_size

        def run() -> None:
            for count in range(1, IMAGE_BATCH_SIZE + 1):
                self._infer("image", (0,), np.zeros((count, size, size, 3), dtype=np.uint8))
            for length in lengths_up_to(longest):
                for count in (rows for rows in TEXT_ROWS if rows * length <= WARM_TOKENS):
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

    def _infer(self, name: str, wanted: tuple[int, ...], *inputs: npt.NDArray[Any]) -> list[Floats]:
        request = getattr(self._requests, name, None)
        if request is None:
            request = self._models[name].create_infer_request()
            setattr(self._requests, name, request)
        results = request.infer(dict(enumerate(inputs)), share_inputs=True)
        # the request's own buffers are written to again by the next batch
        return [results[place].copy() for place in wanted]
