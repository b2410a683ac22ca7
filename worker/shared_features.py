"""What image encoders saw in pictures, shared by all workers through Redis.

The place of a picture follows from its hash, and a place holds one picture: so the cache cannot
outgrow its size, needs no housekeeping, and asks once for all pictures of a chunk.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

import numpy as np
import redis
import structlog

from models.feature_cache import Features

log = structlog.get_logger(__name__)

KEEP_SECONDS = 24 * 3600
"""A place that nobody writes to for so long is given back."""

AWAY_SECONDS = 5.0
"""After an error Redis is left alone for so long: a cache is not worth waiting for."""

_HASH_BYTES = 32


class SharedFeatures:
    """See `models.feature_cache.SharedFeatures`. What Redis refuses is forgotten, not raised.

    Args:
        client: of Redis; answers bytes.
        prefix: of all keys.
        identity: everything that changes the features, such as model, engine and precision.
        dim: width of the features.
        places: pictures kept at most.
    """

    def __init__(
        self, client: redis.Redis, *, prefix: str, identity: str, dim: int, places: int
    ) -> None:
        name = hashlib.sha256(identity.encode()).hexdigest()[:12]
        self._client = client
        self._key = f"{prefix}:features:{name}"
        self._dim = dim
        self._places = places
        self._away_until = 0.0

    def get(self, sha256s: list[str]) -> dict[str, Features]:
        """What is known of these pictures, by hash."""
        if time.monotonic() < self._away_until:
            return {}
        try:
            values = self._client.mget([self._place(sha256) for sha256 in sha256s])
        except redis.RedisError as error:
            self._leave(error)
            return {}
        found = {}
        for sha256, value in zip(sha256s, values, strict=True):
            if isinstance(value, bytes) and value[:_HASH_BYTES] == bytes.fromhex(sha256):
                features = _unpacked(value[_HASH_BYTES:], self._dim)
                if features is not None:
                    found[sha256] = features
        return found

    def put(self, features: Mapping[str, Features]) -> None:
        """Keep what was seen, by hash."""
        if time.monotonic() < self._away_until:
            return
        pipeline = self._client.pipeline(transaction=False)
        for sha256, one in features.items():
            value = bytes.fromhex(sha256) + one.tobytes()
            pipeline.set(self._place(sha256), value, ex=KEEP_SECONDS)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            self._leave(error)

    def _place(self, sha256: str) -> str:
        return f"{self._key}:{int(sha256[:12], 16) % self._places}"

    def _leave(self, error: redis.RedisError) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS
        log.info("pictures are not shared for a while", error=str(error))


def _unpacked(value: bytes, dim: int) -> Features | None:
    """Float16 [regions, dim]; None where the value is none of ours."""
    if not value or len(value) % (2 * dim):
        return None
    features = np.frombuffer(value, dtype=np.float16).reshape(-1, dim)
    return features if bool(np.isfinite(features).all()) else None
