"""The interface of engines, and what they share: batches of bounded shape."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from math import isqrt
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.posts.prediction import PreparedImage

Floats = npt.NDArray[np.float32]

TOKEN_STEP = 8
"""Texts are padded to multiples of this, and beyond 64 tokens to multiples of twice as much: 12
lengths up to 128 tokens. Kernels and buffers are kept for every shape, so few shapes bound memory,
and all can be warmed."""

CELLS = 4
"""Rows and columns of cells that a picture is cut into to be explained."""


class Engine(Protocol):
    """Computes features. Safe to call from several threads at once."""

    name: str
    """ "torch" or "openvino"."""
    device: str
    """ "cpu" or "cuda"."""
    precision: str
    """What it multiplies in: "bf16", "fp16" or "fp32". Results are float32."""
    needs_regions: bool
    """Whether a fusion needs states of single tokens and regions, so that it gives them always."""
    fault: str | None
    """What its device failed of, for good, or None."""

    def encode_texts(
        self, token_ids: Sequence[Sequence[int]], *, parts: bool = False
    ) -> tuple[Floats, list[Floats]]:
        """Features of texts, at least one, of at least one id each, not padded.

        Returns:
            Float32 [texts, dim], and, where `parts` are asked for or the fusion needs them, states
            of each text, [tokens, dim].
        """
        ...

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]], *, parts: bool = False
    ) -> Floats:
        """Features of pictures, at least one, uint8 [image_size, image_size, 3] each.

        Returns:
            Float32 [pictures, parts, dim]: single regions where the fusion needs those;
            else the cells of `cell_weights` where `parts` are asked for; else one, their mean.
        """
        ...

    def warm(self) -> None:
        """Run the usual shapes, so that no post waits while kernels are set up."""
        ...


def encode_pictures(
    engine: Engine, images: Sequence[PreparedImage], *, parts: bool = False
) -> Floats:
    """Features of pictures as `Engine.encode_images` gives them; of an animation, the mean of those
    of the frames that are judged."""
    squares = [image.squares for image in images]
    found = engine.encode_images([one for each in squares for one in each], parts=parts)
    if len(found) == len(images):
        return found
    ends = np.cumsum([len(each) for each in squares])
    return np.stack([rows.mean(axis=0) for rows in np.split(found, ends[:-1])])


class TextBatch(NamedTuple):
    """Texts to be computed together: which ones, and the length that all are padded to."""

    rows: tuple[int, ...]
    tokens: int


def padded_length(length: int, max_tokens: int) -> int:
    """The length that a text of so many tokens is padded to, at most the model's `max_tokens`: an
    encoder may have no position beyond it."""
    step = TOKEN_STEP if length <= 64 else 2 * TOKEN_STEP
    rounded = -(-max(1, length) // step) * step
    return max(length, 1, min(rounded, max_tokens))


def lengths_up_to(max_tokens: int) -> list[int]:
    """Every length that texts of a model are padded to."""
    return sorted({padded_length(length, max_tokens) for length in range(1, max_tokens + 1)})


def text_batches(
    lengths: Sequence[int], *, max_tokens: int, batch_size: int, at_once: int = 1
) -> list[TextBatch]:
    """Put texts of about one length together, none padded further than the longest beside it needs.

    Args:
        lengths: of the texts, in tokens.
        max_tokens: of the model.
        batch_size: of texts, at most.
        at_once: batches that are computed at the same time; few texts are spread over them.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    batches = []
    for rows in split(len(order), batch_size=batch_size, at_once=at_once):
        chosen = tuple(order[row] for row in rows)
        batches.append(TextBatch(chosen, padded_length(lengths[chosen[-1]], max_tokens)))
    return batches


def unpadded(
    batches: Sequence[TextBatch],
    found: Iterable[Sequence[Floats]],
    token_ids: Sequence[Sequence[int]],
) -> tuple[Floats, list[Floats]]:
    """What batches gave, in the order of the texts.

    Args:
        batches: of `text_batches`.
        found: of each batch, float32 [rows, dim], and maybe states [rows, tokens, dim].
        token_ids: of the texts.

    Returns:
        See `Engine.encode_texts`.
    """
    pooled: dict[int, Floats] = {}
    states: dict[int, Floats] = {}
    for batch, outputs in zip(batches, found, strict=True):
        for place, row in enumerate(batch.rows):
            pooled[row] = outputs[0][place]
            if len(outputs) == 2:
                states[row] = outputs[1][place, : len(token_ids[row])]
    rows = range(len(token_ids))
    return np.stack([pooled[row] for row in rows]), [states[row] for row in rows if states]


def split(count: int, *, batch_size: int, at_once: int = 1) -> list[range]:
    """Cut `count` items into batches of `batch_size` at the most, spread over `at_once` workers."""
    size = max(1, min(batch_size, -(-count // at_once)))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << max(0, count - 1).bit_length()


def pad(
    token_ids: Sequence[Sequence[int]], *, rows: int, tokens: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids and attention mask, int64 [rows, tokens], at least as many of both as the texts
    have; rows behind them are texts of one padding token."""
    ids = np.zeros((rows, tokens), dtype=np.int64)
    mask = np.zeros((rows, tokens), dtype=np.int64)
    for row, text in enumerate(token_ids):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    # a row with nothing to attend to would be NaN in some attention kernels
    mask[len(token_ids) :, 0] = 1
    return ids, mask


def cell_weights(regions: int) -> npt.NDArray[np.float32] | None:
    """How the regions of a picture make `CELLS` times `CELLS` cells of equal size.

    A region that lies in several cells counts to each by the area it has there, so the mean of all
    cells is the mean of all regions, and a cell can be left out of it.

    Returns:
        float32 [cells, regions], rows that sum to 1, for regions in a square, row by row; None
        where they are no square.
    """
    side = isqrt(regions)
    if side * side != regions:
        return None
    edges = np.arange(CELLS + 1)[:, None] * side / CELLS
    # how much of the line from 0 to each edge lies in each region, and so of each cell
    along = np.diff(np.clip(edges - np.arange(side), 0, 1), axis=0) * CELLS / side
    return np.asarray(np.kron(along, along), dtype=np.float32)


def available_cpus() -> int:
    """CPUs that this process may use: its affinity and its control group's quota, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        if quota != "max":
            count = min(count, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, count)


@cache
def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulated, it is slower than float32.

    Known of Linux on x86; of others the answer is no.
    """
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(
        told.partition("flags")[2].partition("\n")[0].split()
    )
