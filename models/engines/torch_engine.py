"""torch, on CUDA or on the CPU: what training uses, and where no other engine is better."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.engines.base import (
    cell_weights,
    cpu_computes_bf16,
    lengths_up_to,
    pad,
    padded_length,
    power_of_two,
    split,
    text_batches,
)
from models.network import Network

BATCH_SIZE = 32
"""Texts or pictures in one pass on a CPU: larger ones are no faster and need more memory."""

CUDA_BATCH_SIZE = 64
"""The same on a GPU: a whole chunk of the default size. Not measured."""


class TorchEngine:
    """A network's encoders on a device. See `Engine`.

    On CUDA, pictures and token ids are pinned and copied on a stream of their own, so that the next
    batch travels while this one is computed, and nothing is waited for before the last batch. Texts
    are padded to few lengths and batches to powers of two, so that kernels are chosen, and graphs
    compiled, for a bounded number of shapes. The CUDA paths were not run on a GPU so far.

    One lock guards it: the cores, or the GPU, are busy with one batch.
    """

    name = "torch"

    def __init__(self, network: Network, device: str, *, compiled: bool = False) -> None:
        """Move the encoders to a device.

        Args:
            network: in evaluation mode.
            device: "cpu" or "cuda".
            compiled: compile the encoders by `torch.compile`, one graph for every shape.
        """
        self.device = device
        self.network = network
        self.needs_regions = network.needs_regions
        self._cuda = device == "cuda"
        self._batch_size = CUDA_BATCH_SIZE if self._cuda else BATCH_SIZE
        self._lock = threading.Lock()
        self._copies = torch.cuda.Stream() if self._cuda else None  # type: ignore[no-untyped-call]
        network.text.to(device)
        network.image.to(device).to(memory_format=torch.channels_last)
        self._dtype = _fastest_dtype(device)
        self.precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(self._dtype, "fp32")
        self._text: Callable[..., tuple[Tensor, Tensor]] = TextModule(network)
        self._image: Callable[..., tuple[Tensor, Tensor]] = ImageModule(network)
        if compiled:
            # beyond the limit of 8 graphs a function, torch goes back to eager without a word
            torch._dynamo.config.recompile_limit = 256
            self._text = torch.compile(self._text, dynamic=False)
            self._image = torch.compile(self._image, dynamic=False)

    def encode_texts(
        self, token_ids: Sequence[Sequence[int]], *, parts: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Engine`."""
        batches = text_batches(
            [len(tokens) for tokens in token_ids],
            max_tokens=self.network.config.max_tokens,
            batch_size=self._batch_size,
        )
        found = []
        with self._lock, torch.inference_mode(), self._precision():
            for batch in batches:
                ids, mask = pad(
                    [token_ids[row] for row in batch.rows],
                    rows=self._rows(len(batch.rows)),
                    tokens=batch.tokens,
                )
                found.append(
                    self._text(
                        self._upload(torch.from_numpy(ids)), self._upload(torch.from_numpy(mask))
                    )
                )
            # only now is a GPU waited for
            wanted = 2 if parts or self.needs_regions else 1
            ready = [[part.float().cpu() for part in outputs[:wanted]] for outputs in found]
        pooled = torch.empty(len(token_ids), ready[0][0].shape[-1])
        states: dict[int, Tensor] = {}
        for batch, outputs in zip(batches, ready, strict=True):
            pooled[list(batch.rows)] = outputs[0][: len(batch.rows)]
            if wanted == 2:
                for place, row in enumerate(batch.rows):
                    states[row] = outputs[1][place, : len(token_ids[row])]
        return pooled, [states[row] for row in range(len(token_ids)) if row in states]

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]], *, parts: bool = False
    ) -> Tensor:
        """See `Engine`."""
        found = []
        with self._lock, torch.inference_mode(), self._precision():
            for rows in split(len(pixels), batch_size=self._batch_size):
                chosen = list(pixels[rows.start : rows.stop])
                chosen += [chosen[-1]] * (self._rows(len(rows)) - len(rows))
                outputs = self._image(self._upload(torch.from_numpy(np.stack(chosen))))
                found.append(outputs[parts or self.needs_regions][: len(rows)])
            return torch.cat([regions.float().cpu() for regions in found])

    def warm(self) -> None:
        """See `Engine`. On a GPU, every shape there is; on a CPU, a batch of one and a full one."""
        longest, size = self.network.config.max_tokens, self.network.config.image_size
        lengths = lengths_up_to(longest)
        counts = [1, self._batch_size]
        if self._cuda:
            counts = [1 << power for power in range(self._batch_size.bit_length())]
        else:
            lengths = [padded_length(min(32, longest), longest)]
        for count in counts:
            for length in lengths:
                self.encode_texts([[0] * length] * count)
            self.encode_images([np.zeros((size, size, 3), dtype=np.uint8)] * count)

    def _rows(self, count: int) -> int:
        """Rows to compute for `count`: more on a GPU, where a new shape costs more than they do."""
        return min(power_of_two(count), self._batch_size) if self._cuda else count

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device, dtype=self._dtype)

    def _upload(self, values: Tensor) -> Tensor:
        if self._copies is None:
            return values
        with torch.cuda.stream(self._copies):
            there = values.pin_memory().to(self.device, non_blocking=True)
        current = torch.cuda.current_stream()
        current.wait_stream(self._copies)
        # or the allocator may give its memory to the next copy while kernels still read it
        there.record_stream(current)
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
        """Uint8 [batch, height, width, 3] to float32 [batch, 1, dim], the mean of all regions, and
        [batch, parts, dim]: cells, or regions where the fusion needs them."""
        regions = self.encoder.regions(pixels)
        mean = regions.mean(dim=1, keepdim=True)
        if self.in_cells:
            # a third of what single regions would take to be copied for every picture
            weights = cell_weights(int(regions.shape[1]))
            if weights is not None:
                return mean, torch.from_numpy(weights).to(regions) @ regions
        return mean, regions


def _fastest_dtype(device: str) -> torch.dtype:
    if device == "cuda":
        # emulated bfloat16 is what GPUs before Ampere offer
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if cpu_computes_bf16() else torch.float32
