"""What the image encoder saw in pictures, kept by their hash: the same picture is posted again and
again. Needs no torch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float16]


class SharedFeatures(Protocol):
    """A second tier that several processes share. It may forget anything, and never raises."""

    def get(self, sha256s: list[str]) -> dict[str, Features]:
        """What is known of these pictures, by hash."""
        ...

    def put(self, features: Mapping[str, Features]) -> None:
        """Keep what was seen, by hash."""
        ...


class FeatureCache:
    """Features by the SHA-256 of the undecoded picture; the oldest unused go first.

    Safe to use from several threads.

    Args:
        max_bytes: of the features in memory; 0 keeps none there.
        shared: asked for what is not in memory.
    """

    def __init__(self, max_bytes: int, shared: SharedFeatures | None = None) -> None:
        self._max_bytes = max_bytes
        self._shared = shared
        self._bytes = 0
        self._kept: OrderedDict[str, Features] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, sha256s: Iterable[str]) -> dict[str, Features]:
        """Float16 [regions, dim] of the pictures that are known, by hash."""
        wanted = dict.fromkeys(sha256s)
        found: dict[str, Features] = {}
        with self._lock:
            for sha256 in wanted:
                if sha256 in self._kept:
                    self._kept.move_to_end(sha256)
                    found[sha256] = self._kept[sha256]
        missing = [sha256 for sha256 in wanted if sha256 not in found]
        if missing and self._shared is not None:
            shared = self._shared.get(missing)
            self._keep(shared)
            found |= shared
        return found

    def put(self, features: Mapping[str, Features]) -> None:
        """Keep what the encoder saw in pictures, by hash."""
        if features:
            self._keep(features)
            if self._shared is not None:
                self._shared.put(features)

    def _keep(self, features: Mapping[str, Features]) -> None:
        with self._lock:
            for sha256, one in features.items():
                before = self._kept.pop(sha256, None)
                self._bytes += one.nbytes - (0 if before is None else before.nbytes)
                self._kept[sha256] = one
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes
