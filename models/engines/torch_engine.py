"""torch, on CUDA or on the CPU: what training uses, and where no other engine is better."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deadpan.core.errors import DeviceLost, OutOfMemory
from models.engines.base import (
    Floats,
    TextBatch,
    cell_weights,
    cpu_computes_bf16,
    lengths_up_to,
    pad,
    padded_length,
    power_of_two,
    split,
    text_batches,
    unpadded,
)
from models.engines.faults import is_of_device, is_out_of_memory
from models.network.network import Network

log = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Texts or pictures in one pass on a CPU: larger ones are no faster and need more memory."""

CUDA_BATCH_SIZE = 64
"""The same on a GPU: a whole chunk of the default size. Not measured."""

SMALL_SECONDS = 600.0
"""For so long after memory ran out batches stay small; then they double, once in that time. What
took the memory may have been another process's, and gone."""

_Found = TypeVar("_Found")
_M = TypeVar("_M", bound=nn.Module)

_HALVED = ("Linear", "NonDynamicallyQuantizableLinear", "Conv1d", "Conv2d", "Conv3d", "Conv2dSame")
"""Modules, torch's and timm's, that do nothing with their weights but multiply by them. Those that
standardise them first, or take a logarithm, need them in float32."""


class BatchBound:
    """How many rows fit into memory at once. To be used under one lock.

    Args:
        most: while memory suffices.
        clock: seconds that only grow.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = self._rows = most
        self._clock = clock
        self._since = clock()

    @property
    def rows(self) -> int:
        """How many may be computed at once now."""
        while self._rows < self._most and self._clock() - self._since >= SMALL_SECONDS:
            self._rows = min(2 * self._rows, self._most)
            self._since += SMALL_SECONDS
        return self._rows

    def halve(self, tried: int) -> int:
        """Note that so many rows, two at least, did not fit; returns how many to try now."""
        self._rows = max(1, min(tried, self._rows) // 2)
        self._since = self._clock()
        return self._rows


class TorchEngine:
    """A network's encoders on a device. See `Engine`.

    On CUDA, texts are padded to few lengths and batches to powers of two, so that kernels are
    chosen for a bounded number of shapes. Tested on a stand-in for `torch.cuda`, and on no GPU.

    One lock guards it: the cores, or the GPU, are busy with one batch.
    """

    name = "torch"

    def __init__(self, network: Network, device: str, *, compiled: bool = False) -> None:
        """Move the encoders of a network in evaluation mode to "cpu" or "cuda"; where the device
        computes in half precision, a copy of them. `compiled` makes one graph for all shapes."""
        self.device = device
        self.needs_regions = network.needs_regions
        self.fault: str | None = None
        self._config = network.config
        self._cuda = device == "cuda"
        self._compiled = compiled
        most = CUDA_BATCH_SIZE if self._cuda else BATCH_SIZE
        self._texts_at_once, self._pictures_at_once = BatchBound(most), BatchBound(most)
        self._lock = threading.Lock()
        self._dtype = _fastest_dtype(device)
        self.precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(self._dtype, "fp32")
        text = _with_weights_in(self._dtype, TextModule(network)).to(device)
        image = _with_weights_in(self._dtype, ImageModule(network)).to(device)
        image.encoder.to(memory_format=torch.channels_last)
        self._text: Callable[..., tuple[Tensor, Tensor]] = text
        self._image: Callable[..., tuple[Tensor, Tensor]] = image
        if compiled:
            # Beyond the limit of 8 graphs a function, torch goes back to eager without a word. Two
            # are what there should be; an encoder that insists on a shape gets one for each.
            torch._dynamo.config.recompile_limit = 256
            self._text = torch.compile(self._text)
            self._image = torch.compile(self._image)

    def encode_texts(
        self, token_ids: Sequence[Sequence[int]], *, parts: bool = False
    ) -> tuple[Floats, list[Floats]]:
        """See `Engine`."""
        wanted = 2 if parts or self.needs_regions else 1

        def encode(at_once: int) -> tuple[list[TextBatch], list[list[Floats]]]:
            batches = text_batches(
                [len(tokens) for tokens in token_ids],
                max_tokens=self._config.max_tokens,
                batch_size=at_once,
            )
            found = []
            for batch in batches:
                ids, mask = pad(
                    [token_ids[row] for row in batch.rows],
                    rows=self._rows(len(batch.rows), at_once),
                    tokens=batch.tokens,
                )
                # both the number of texts and their length vary
                found.append(self._text(self._upload(ids, (0, 1)), self._upload(mask, (0, 1))))
            # only now is a GPU waited for
            return batches, [[_array(part) for part in some[:wanted]] for some in found]

        batches, found = self._fitting(encode, self._texts_at_once, len(token_ids), "texts")
        return unpadded(batches, found, token_ids)

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]], *, parts: bool = False
    ) -> Floats:
        """See `Engine`."""

        def encode(at_once: int) -> Floats:
            found = []
            for rows in split(len(pixels), batch_size=at_once):
                chosen = list(pixels[rows.start : rows.stop])
                chosen += [chosen[-1]] * (self._rows(len(rows), at_once) - len(rows))
                outputs = self._image(self._upload(np.stack(chosen), (0,)))
                found.append(outputs[parts or self.needs_regions][: len(rows)])
            return np.concatenate([_array(regions) for regions in found])

        return self._fitting(encode, self._pictures_at_once, len(pixels), "pictures")

    def warm(self) -> None:
        """See `Engine`. On a GPU, every shape there is; on a CPU, a batch of one and a full one.

        Compiled graphs are for all shapes, and are made by two texts and two pictures; a full batch
        of the longest finds out whether it fits.
        """
        longest, size = self._config.max_tokens, self._config.image_size
        most = CUDA_BATCH_SIZE if self._cuda else BATCH_SIZE
        lengths = lengths_up_to(longest)
        counts = [1, most]
        if self._cuda and not self._compiled:
            counts = [1 << power for power in range(most.bit_length())]
        elif self._compiled:
            lengths = sorted({lengths[0], longest})
        else:
            lengths = [padded_length(min(32, longest), longest)]
        for count in counts:
            for length in lengths:
                self.encode_texts([[0] * length] * count)
            self.encode_images([np.zeros((size, size, 3), dtype=np.uint8)] * count)

    def _fitting(
        self, encode: Callable[[int], _Found], bound: BatchBound, count: int, what: str
    ) -> _Found:
        """Encode `count` rows with as many at once as there is memory for; `what` is for people.

        Raises:
            DeviceLost: the device failed, now or before.
            OutOfMemory: there is none for a single row.
        """
        with self._lock:
            if self.fault is not None:
                raise DeviceLost(f"the device failed before: {self.fault}", first=False)
            while True:
                try:
                    with torch.inference_mode(), self._precision():
                        return encode(bound.rows)
                except Exception as error:
                    if is_of_device(error):
                        self.fault = f"{type(error).__name__}: {error}"[:500]
                        raise DeviceLost(f"the device failed: {self.fault}", first=True) from error
                    if not is_out_of_memory(error):
                        raise
                    told = f"{type(error).__name__}: {error}"[:500]
                # Only here are the error's frames gone, and with them the tensors that they held.
                if self._cuda:
                    torch.cuda.empty_cache()
                tried = self._rows(min(count, bound.rows), bound.rows)
                if count == 1 or bound.rows == 1:
                    raise OutOfMemory(f"out of memory for {what}, even one at a time: {told}")
                fewer = bound.halve(tried)
                log.warning(
                    "out of memory for %d %s at once; trying %d: %s", tried, what, fewer, told
                )

    def _rows(self, count: int, at_once: int) -> int:
        """Rows to compute for `count`: more on a GPU, where a new shape costs more than they do."""
        if self._compiled:
            # a dimension of 1 is never taken for one that varies, and would be a graph of its own
            return max(2, count)
        return min(power_of_two(count), at_once) if self._cuda else count

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device, dtype=self._dtype)

    def _upload(self, values: npt.NDArray[Any], varying: tuple[int, ...]) -> Tensor:
        """To the device; `varying` are the dimensions that differ from batch to batch."""
        there = torch.from_numpy(values).to(self.device)
        if self._compiled:
            for dimension in varying:
                torch._dynamo.maybe_mark_dynamic(there, dimension)
        return there


class TextModule(nn.Module):
    """What an engine computes of texts."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encoder = network.text

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Int64 [batch, tokens], twice, to float32 [batch, dim] and [batch, tokens, dim]."""
        states = self.encoder.states(token_ids, attention_mask)
        return self.encoder.pool(states, attention_mask), states


class ImageModule(nn.Module):
    """What an engine computes of pictures; normalisation is in it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encoder = network.image
        self.in_cells = not network.needs_regions

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Uint8 [batch, height, width, 3] to float32 [batch, 1, dim], pooled, and
        [batch, parts, dim]: cells, or regions where the fusion needs them."""
        regions = self.encoder.regions(pixels)
        mean = self.encoder.pool(regions).unsqueeze(1)
        # copying cells takes a third of what copying single regions would
        if self.in_cells and (weights := cell_weights(int(regions.shape[1]))) is not None:
            return mean, torch.from_numpy(weights).to(regions) @ regions
        return mean, regions


def _array(tensor: Tensor) -> Floats:
    found: Floats = tensor.float().cpu().numpy()
    return found


def _fastest_dtype(device: str) -> torch.dtype:
    if device == "cuda":
        # emulated bfloat16 is what GPUs before Ampere offer
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if cpu_computes_bf16() else torch.float32


def _with_weights_in(dtype: torch.dtype, module: _M) -> _M:
    """A copy whose products are computed from weights of this type; the module itself for float32.

    Under autocast every weight that needs no gradient is cast in every pass: only leaves that need
    one are kept in its cache. The copy has what autocast would make of them, so it says the same.
    What autocast computes in float32 (norms, softmax), and what is looked up, stays as it is.
    """
    if dtype is torch.float32:
        return module
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if type(part).__name__ in _HALVED and not hasattr(part, "parametrizations"):
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return copied
