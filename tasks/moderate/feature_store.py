"""Features of pictures in Redis, for all workers and for the next start.

Redis runs with `noeviction`: what fills it stops the intake. So the features of a model have a
fixed number of places, each with an expiry. A picture's place follows from its name, and whoever
comes later takes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from deadpan.core.redis_url import read

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 30.0
"""How long Redis is left alone after it failed: a feature is computed sooner than waited for."""

_TIMEOUT_SECONDS = 0.5

_SHARE_OF_REDIS = 8
"""At most one part in so many of the memory that Redis is allowed (`maxmemory`)."""

_MARK_BYTES = 32
_OVERHEAD_BYTES = 200
"""What Redis takes for a key and its expiry, besides the value."""


class RedisFeatures:
    """A `models.serving.feature_cache.FeatureStore`. Safe to use from several threads.

    Args:
        client: one that gives up soon, as `at` makes it.
        prefix: of all keys.
        seconds: how long features are kept after they were written.
        max_bytes: what the features of one model may take in Redis.
    """

    def __init__(self, client: redis.Redis, prefix: str, *, seconds: int, max_bytes: int) -> None:
        self._client = client
        self._prefix = f"{prefix}:features"
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._paused_until = 0.0
        self._limited = False
        self._lock = threading.Lock()

    @classmethod
    def at(cls, redis_url: str, prefix: str, *, seconds: int, max_bytes: int) -> RedisFeatures:
        """The store of a Redis URL; connects on first use. Arguments as of the class."""
        # Whatever the URL says: waiting for features is never worth it.
        client = read(redis_url).client(
            insist={
                "socket_timeout": _TIMEOUT_SECONDS,
                "socket_connect_timeout": _TIMEOUT_SECONDS,
                "retry": Retry(NoBackoff(), 0),
            }
        )
        return cls(client, prefix, seconds=seconds, max_bytes=max_bytes)

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def load(self, names: Iterable[str], size: int) -> dict[str, bytes]:
        """What is known of these names, with one MGET. Never raises for what Redis does.

        Args:
            names: IDENTITY:SHA256 each.
            size: of each value, in bytes; all of one model have the same.
        """
        wanted = list(names)
        if not wanted or self._is_paused():
            return {}
        try:
            places = self._places(size)
            if not places:
                return {}
            # redis-py's types know that a client may decode; this one gives bytes.
            values = cast(
                "list[bytes | None]",
                self._client.mget([self._key(name, places) for name in wanted]),
            )
        except RedisError as error:
            self._pause(error)
            return {}
        found = {}
        for name, value in zip(wanted, values, strict=True):
            # Another picture may have the place by now.
            if value is not None and value.startswith(_mark(name)):
                found[name] = value[_MARK_BYTES:]
        return found

    def save(self, values: Mapping[str, bytes], size: int) -> None:
        """Keep these, with one pipeline. Never raises for what Redis does."""
        if not values or self._is_paused():
            return
        try:
            places = self._places(size)
            if not places:
                return
            pipe = self._client.pipeline(transaction=False)
            for name, value in values.items():
                pipe.set(self._key(name, places), _mark(name) + value, ex=self._seconds)
            pipe.execute()
        except RedisError as error:
            self._pause(error)

    def _places(self, size: int) -> int:
        """How many features of this size there is room for."""
        if not self._limited:
            try:
                allowed = int(self._client.info("memory").get("maxmemory", 0))
            except ResponseError:  # some hosts forbid INFO
                allowed = 0
            if allowed:
                self._max_bytes = min(self._max_bytes, allowed // _SHARE_OF_REDIS)
            self._limited = True
        return self._max_bytes // (size + _MARK_BYTES + _OVERHEAD_BYTES)

    def _key(self, name: str, places: int) -> str:
        identity, _, sha256 = name.partition(":")
        return f"{self._prefix}:{identity}:{int(sha256[:16], 16) % places}"

    def _is_paused(self) -> bool:
        with self._lock:
            return time.monotonic() < self._paused_until

    def _pause(self, error: RedisError) -> None:
        with self._lock:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
        log.warning(
            "image features are not shared through Redis for a while",
            error=str(error),
            pause_seconds=PAUSE_SECONDS,
        )


def _mark(name: str) -> bytes:
    """Whose features they are: the picture's SHA-256."""
    return bytes.fromhex(name.partition(":")[2])
