"""What an engine does, and the shapes it does it in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TOLERANCE = 0.06
"""How far a probability may differ between engines, or with what else is in the batch: bfloat16 has
8 bits of precision, and engines order their sums differently. On 450 real posts the largest
difference was 0.046, and the mean of the differences 0.008 at most."""

BATCH_SIZE = 32
"""Texts or pictures in one pass: larger batches are no faster on a CPU and need more memory."""

ROWS = (1, 2, 4, 8, 16, 24, BATCH_SIZE)
"""Sizes that a batch is filled up to."""

TOKENS_STEP = 8
"""Tokens are padded to a multiple of it, and so to few lengths: every new shape costs time and
memory."""


class Engine(Protocol):
    """Runs a network's encoders. Safe to call from several threads at once.

    Attributes:
        name: "torch" or "openvino".
        device: "cpu" or "cuda".
        precision: what it multiplies in, such as "bfloat16".
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def encode_texts(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
        """Features of texts, each computed with texts of about its length.

        Args:
            token_ids: not padded; at least one id each.

        Returns:
            Float32 [texts, dim], and, where the fusion looks at single words, the states of each
            text, [tokens, dim]; on the CPU.
        """
        ...

    def encode_images(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Features of pictures.

        Args:
            pixels: uint8 [image_size, image_size, 3] each.

        Returns:
            Float32 [pictures, regions, dim] on the CPU; one region, the mean of all, where the
            fusion needs no more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that go through the encoder together.

    Attributes:
        rows: indices of the texts.
        token_ids: int64 [rows filled up, tokens filled up].
        attention_mask: int64, the same shape; a row that was filled up looks at one token.
    """

    rows: list[int]
    token_ids: Tensor
    attention_mask: Tensor


def text_batches(token_ids: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Texts of about one length together, in shapes of which there are few.

    Args:
        token_ids: not padded; at least one id each.
    """
    order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        longest = len(token_ids[rows[-1]])
        ids = np.zeros((filled(len(rows)), -(-longest // TOKENS_STEP) * TOKENS_STEP), np.int64)
        mask = np.zeros_like(ids)
        mask[len(rows) :, 0] = 1
        for row, index in enumerate(rows):
            ids[row, : len(token_ids[index])] = token_ids[index]
            mask[row, : len(token_ids[index])] = 1
        yield Batch(rows, torch.from_numpy(ids), torch.from_numpy(mask))


def image_batches(pixels: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[int, Tensor]]:
    """How many pictures, and they: uint8 [filled up, image_size, image_size, 3]."""
    for start in range(0, len(pixels), BATCH_SIZE):
        part = pixels[start : start + BATCH_SIZE]
        batch = np.zeros((filled(len(part)), *part[0].shape), np.uint8)
        np.stack(part, out=batch[: len(part)])
        yield len(part), torch.from_numpy(batch)


def filled(rows: int) -> int:
    """The size that a batch of `rows` is filled up to."""
    return next(size for size in ROWS if size >= rows)


def warm_shapes(max_tokens: int) -> Iterator[tuple[int, int]]:
    """Every shape of text batches: rows and tokens."""
    for tokens in range(TOKENS_STEP, max_tokens + TOKENS_STEP, TOKENS_STEP):
        for rows in ROWS:
            yield rows, min(tokens, -(-max_tokens // TOKENS_STEP) * TOKENS_STEP)
