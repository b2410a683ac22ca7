"""What training changed of the encoders, in few bits: differences from the encoders' own tensors.

Training moves a weight by a few hundredths of its size, so that a difference needs far fewer bits
than the weight itself. See docs/decisions/0018-differences-in-few-bits.md. Needs no torch.

Legend: `rows` is a tensor's first dimension (the words of an embedding, the outputs of a layer or
of a convolution), `columns` all others together, `kept` the rows that training moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from deadpan.core.errors import CheckpointError

CODES = "/codes"
"""Ends the name of a tensor's differences, counted in steps: int8 [kept, columns], or two in each
byte, the even column in the low half, uint8 [kept, half of the columns, rounded up]."""

SCALES = "/scales"
"""Ends the name of the size of a step in each row: float32 [rows], 0 where a row is not kept."""

MANY_ROWS = 4096
"""A tensor with more is an embedding: most of the parameters, of which a text uses a few rows. Its
differences have 4 bits, all others 8."""

UNMOVED = 2.0**-9
"""A row of differences that is shorter than this, relative to the encoder's own row, is left out.
Engines multiply in bfloat16, which rounds a weight by up to as much. It leaves out the rows of
words that no training text had: weight decay and rounding alone moved them."""

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""What a file says of its tensors: by name, dtype as safetensors writes it, and shape."""

_ZERO = 8
"""Added to a difference of 4 bits, -7 to 7, so that it is no negative number."""

_SHRUNK = tuple(np.linspace(1.0, 0.4, 13, dtype=np.float32))
"""What is tried of the step that just reaches the largest difference of a row: a smaller one cuts
that off and is finer for all others. The one with the least squared error is taken."""

_ROWS_AT_ONCE = 2048
"""Bounds memory: an embedding has tens of thousands."""


def pack(
    trained: Mapping[str, Array], own: Mapping[str, Array], *, bits: int | None = None
) -> dict[str, Array]:
    """The tensors of a checkpoint's file.

    Matrices and convolutions of the encoders become differences. All others take little room and
    stay what they are, in float16; among them is what has one row, and so one scale for everything.

    Args:
        trained: float tensors of the head and of the encoders.
        own: the encoders' own, by the same names.
        bits: of a difference, 4 or 8; None chooses by `MANY_ROWS`.

    Raises:
        CheckpointError: a tensor holds NaN, infinity, or a number too large for float16.
    """
    stored: dict[str, Array] = {}
    for name, tensor in trained.items():
        if name not in own or tensor.ndim < 2 or len(tensor) < 2:
            stored[name] = _in_half(name, tensor)
            continue
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinity")
        base = _in_rows(own[name])
        differences = _in_rows(tensor) - base
        moved = np.linalg.norm(differences, axis=1) > UNMOVED * np.linalg.norm(base, axis=1)
        scales = np.zeros(len(base), dtype=np.float32)
        width = bits or (4 if len(base) > MANY_ROWS else 8)
        scales[moved], codes = _quantised(differences[moved], 2 ** (width - 1) - 1)
        stored[name + SCALES] = scales
        stored[name + CODES] = codes if width == 8 else _two_in_a_byte(codes)
    return stored


def unpack(stored: Mapping[str, Array], own: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors that `pack` was given, as exactly as they are stored.

    Args:
        stored: the tensors of a checkpoint's file.
        own: the encoders' own, by the names that `pack` was given.

    Returns:
        Those that were stored as they are, unchanged; the encoders' own with the differences added,
        float32.

    Raises:
        CheckpointError: differences do not fit the encoders, or are no numbers.
    """
    tensors, problems = {}, []
    for name in sorted(names_in(stored)):
        if name in stored:
            tensors[name] = stored[name]
            continue
        scales, codes = stored[name + SCALES], stored[name + CODES]
        problem = _misfit(scales, codes, own.get(name))
        if problem:
            problems.append(f"{name} {problem}")
            continue
        whole = _in_rows(own[name])
        kept = np.flatnonzero(scales)
        for start in range(0, len(kept), _ROWS_AT_ONCE):
            rows = kept[start : start + _ROWS_AT_ONCE]
            part = codes[start : start + _ROWS_AT_ONCE]
            steps = part if part.dtype == np.int8 else _apart(part, whole.shape[1])
            whole[rows] += steps * scales[rows, None]
        tensors[name] = whole.reshape(own[name].shape)
    if problems:
        raise CheckpointError("; ".join(problems[:10]))
    return tensors


def names_in(stored: Iterable[str]) -> set[str]:
    """Names of the tensors that a file's entries make up."""
    found = set(stored)
    packed = {name.removesuffix(SCALES) for name in found if name.endswith(SCALES)}
    packed = {name for name in packed if name + CODES in found}
    return found - {name + part for name in packed for part in (CODES, SCALES)} | packed


def problems_in(layout: Layout) -> list[str]:
    """What keeps a file with this layout from being one of `pack`; empty when nothing does."""
    problems = []
    for name in sorted(names_in(layout)):
        if name in layout:
            dtype, _ = layout[name]
            if name + CODES in layout:
                problems.append(f"{name} is there twice")
            if dtype not in ("F16", "F32"):
                problems.append(f"{name} is {dtype}; it must be F16 or F32")
            continue
        (codes_dtype, codes), (scales_dtype, scales) = layout[name + CODES], layout[name + SCALES]
        if codes_dtype not in ("I8", "U8") or len(codes) != 2:
            problems.append(
                f"{name + CODES} is {codes_dtype} {list(codes)}; "
                "it must be I8 or U8, with two dimensions"
            )
        elif scales_dtype != "F32" or len(scales) != 1 or scales[0] < codes[0]:
            problems.append(
                f"{name + SCALES} is {scales_dtype} {list(scales)}; "
                f"it must be F32, one number for each row, of which {codes[0]} are kept"
            )
    return problems


def _misfit(scales: Array, codes: Array, base: Array | None) -> str:
    """Why differences cannot be added to an encoder's tensor; "" if they can."""
    if base is None:
        return "is unknown"
    if base.ndim < 2 or not base.size:
        return f"is {list(base.shape)}, and cannot have rows of differences"
    if not np.isfinite(scales).all() or (scales < 0).any():
        return "has a scale that is negative, NaN or infinity"
    columns = base.size // len(base)
    kept = int(np.count_nonzero(scales))
    expected = (kept, columns if codes.dtype == np.int8 else (columns + 1) // 2)
    if len(scales) != len(base) or codes.shape != expected:
        return (
            f"has {len(scales)} scales and codes {list(codes.shape)}, "
            f"not {len(base)} and {list(expected)}"
        )
    return ""


def _quantised(differences: Floats, most: int) -> tuple[Floats, npt.NDArray[np.int8]]:
    """The step of each row, and every difference in whole steps, none above `most`."""
    steps = np.empty(len(differences), dtype=np.float32)
    codes = np.empty(differences.shape, dtype=np.int8)
    for start in range(0, len(differences), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        part = differences[rows]
        largest = np.abs(part).max(axis=1) / np.float32(most)
        least = np.full(len(part), np.inf, dtype=np.float32)
        for shrunk in _SHRUNK:
            tried = largest * shrunk
            counted = np.clip(np.rint(part / tried[:, None]), -most, most)
            error = np.square(counted * tried[:, None] - part).sum(axis=1)
            better = error < least
            least[better] = error[better]
            steps[rows][better] = tried[better]
            codes[rows][better] = counted[better]
    return steps, codes


def _two_in_a_byte(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    nibbles = (codes + np.int8(_ZERO)).astype(np.uint8)
    if nibbles.shape[1] % 2:
        nibbles = np.pad(nibbles, ((0, 0), (0, 1)))
    return nibbles[:, ::2] | nibbles[:, 1::2] << np.uint8(4)


def _apart(pairs: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.int8]:
    nibbles = np.stack((pairs & np.uint8(15), pairs >> np.uint8(4)), axis=-1)
    return nibbles.reshape(len(pairs), -1)[:, :columns].astype(np.int8) - np.int8(_ZERO)


def _in_rows(tensor: Array) -> Floats:
    """A copy, float32 [rows, columns]."""
    return tensor.astype(np.float32).reshape(len(tensor), -1)


def _in_half(name: str, tensor: Array) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    if not np.isfinite(half).all():
        raise CheckpointError(f"{name} holds NaN, infinity or a number too large for float16")
    return half
