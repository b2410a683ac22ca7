"""Features of pictures by the SHA-256 of their file: the same picture is posted again and again.

Needs no torch. The first tier is this process's memory; behind it may stand a store that several
workers share.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.posts.recent import RecentlyUsed

Features = npt.NDArray[np.float16]

FEATURES_VERSION = 2
"""Raised whenever other features come out of the same pixels and weights."""

_ENTRY_BYTES = 400
"""What an entry takes besides its numbers: array header, key, links of the dictionary."""


class FeatureStore(Protocol):
    """Keeps features longer, or for more processes, than memory does.

    It may forget whatever it likes, and never raises: a store that is down knows nothing.
    """

    def load(self, names: Iterable[str], size: int) -> dict[str, bytes]:
        """What is known of these names (IDENTITY:SHA256), `size` bytes each, in one round trip."""
        ...

    def save(self, values: Mapping[str, bytes], size: int) -> None:
        """Keep these, each of `size` bytes, in one round trip."""
        ...


def features_identity(**parts: object) -> str:
    """A name, 16 hexadecimal digits, for all that decides which features a file has: model version,
    engine, precision and the like, as JSON knows them."""
    told = json.dumps({**parts, "features": FEATURES_VERSION}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class FeatureCache:
    """The most recently used features. Safe to use from several threads.

    Args:
        max_bytes: what the memory tier may take; 0 keeps nothing in memory.
        identity: see `features_identity`; parts features of different models in the store.
        dim: width of the features.
        regions: of each picture; None where they are more than one.
        store: the second tier; only used for pictures of one region. All places of a picture, as a
            fusion by attention needs them, are 125 kB and not worth their way over the network.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        identity: str,
        dim: int,
        regions: int | None,
        store: FeatureStore | None = None,
    ) -> None:
        self._memory: RecentlyUsed[Features] = RecentlyUsed(
            max_bytes, lambda features: features.nbytes + _ENTRY_BYTES
        )
        self._identity = identity
        self._dim = dim
        self._size = 2 * dim
        self._store = store if regions == 1 else None
        self._lock = threading.Lock()
        self._unsaved: dict[str, bytes] = {}

    def load(self, sha256s: Iterable[str]) -> dict[str, Features]:
        """Known features, float16 [regions, dim], of these pictures; asks the store once."""
        wanted = list(dict.fromkeys(sha256s))
        found = self.in_memory(wanted)
        missing = [sha256 for sha256 in wanted if sha256 not in found]
        if missing and self._store is not None:
            names = {f"{self._identity}:{sha256}": sha256 for sha256 in missing}
            for name, content in self._store.load(names, self._size).items():
                features = self._read(content)
                if features is not None:
                    found[names[name]] = features
                    self._memory.add(names[name], features)
        return found

    def in_memory(self, sha256s: Iterable[str]) -> dict[str, Features]:
        """The same without asking the store."""
        return self._memory.of(sha256s)

    def add(self, sha256: str, features: Features) -> None:
        """Keep features of a picture, [regions, dim], in memory, and for the store until `save`.
        What is not finite is not kept."""
        if not np.isfinite(features).all():
            return
        features = np.ascontiguousarray(features)
        self._memory.add(sha256, features)
        if self._store is not None:
            with self._lock:
                self._unsaved[f"{self._identity}:{sha256}"] = features.tobytes()

    def save(self) -> None:
        """Hand what is new to the store, all at once."""
        if self._store is None:
            return
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            self._store.save(unsaved, self._size)

    def _read(self, content: bytes) -> Features | None:
        """Features as `save` wrote them, or None for anything else."""
        if len(content) != self._size:
            return None
        features = np.frombuffer(content, dtype=np.float16).reshape(1, self._dim)
        return features if np.isfinite(features).all() else None
