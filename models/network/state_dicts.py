"""Weights in the format that torch wrote before version 1.6, read without torch.

Such a file is a pickle, and a pickle is a program. This reader runs none of it but what puts
numbers into arrays: it knows one class and one function by name, and both are our own.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
}


class _Storage(NamedTuple):
    key: str
    dtype: npt.DTypeLike
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Tensors by name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, is cut short, or holds anything but tensors by name.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    # a pickle can make whatever it is made of raise
    except (
        *(pickle.UnpicklingError, EOFError, TypeError, LookupError, AttributeError, ValueError),
        *(OverflowError, MemoryError, RecursionError),
    ) as error:
        raise ValueError(f"{path.name} holds more than weights, or less: {error}") from error


class _Unpickler(pickle.Unpickler):  # noqa: S301 - it finds no class but those below
    """Finds `OrderedDict`, torch's name for a tensor of some storage, and its names of types."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise ValueError(f"it has a {kind!r:.60}")
        return _Storage(str(key), dtype, int(count))


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read(file: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
    magic, protocol, system, named, keys = (_Unpickler(file).load() for _ in range(5))
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not system["little_endian"]:
        raise ValueError("it is in another format")
    if not isinstance(named, Mapping) or not isinstance(keys, list):
        raise ValueError("it holds no tensors by name")
    tensors = {str(name): tensor for name, tensor in named.items()}
    for name, tensor in tensors.items():
        if not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise ValueError(f"{name} is no tensor")
    types = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    stored = {str(key): _numbers(file, types[str(key)]) for key in keys}
    return {name: _view(name, tensor, stored) for name, tensor in tensors.items()}


def _numbers(file: IO[bytes], storage: _Storage) -> npt.NDArray[Any]:
    """The numbers of a storage, which stand behind their count."""
    dtype = np.dtype(storage.dtype)
    size = storage.size * dtype.itemsize
    head, content = file.read(8), file.read(max(0, size))
    if head != storage.size.to_bytes(8, "little") or len(content) != size:
        raise ValueError("it is cut short")
    return np.frombuffer(content, dtype)


def _view(name: str, tensor: _Tensor, stored: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """A tensor as a view of the numbers of its storage, never of others."""
    numbers, shape, strides = stored[tensor.storage.key], tensor.shape, tensor.strides
    last = tensor.offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if min(tensor.offset, *shape, *strides, 0) < 0 or max(math.prod(shape), last + 1) > len(
        numbers
    ):
        raise ValueError(f"{name} reaches beyond its numbers")
    width = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], shape, [step * width for step in strides], writeable=False
    )
