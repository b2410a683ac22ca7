"""How many posts a chunk may hold, so that it is through in a few seconds on any machine."""

from __future__ import annotations

import threading

CHUNK_SECONDS = 5.0
"""What a chunk may take. A post of high priority waits for the chunks in hand, and a worker that is
killed leaves them to be done again."""

SMALLEST = 4
"""Fewer would leave no place in a chunk for every priority."""

_WEIGHT = 0.3
"""Of the newest chunk in the running mean."""


class Pace:
    """Learns from chunks how long a post takes. Safe to use from several threads.

    Chunks in hand share the model, so a chunk's time holds its waiting for the others; that is
    meant, for it is how long a post of high priority waits as well.

    Args:
        largest: posts in a chunk, whatever the pace.
    """

    def __init__(self, largest: int, *, chunk_seconds: float = CHUNK_SECONDS) -> None:
        self._largest = largest
        self._chunk_seconds = chunk_seconds
        self._seconds_per_post: float | None = None
        self._lock = threading.Lock()

    def saw(self, posts: int, seconds: float) -> None:
        """Note how long a chunk took; very small ones say little and are left out."""
        if posts < SMALLEST:
            return
        each = seconds / posts
        with self._lock:
            before = self._seconds_per_post
            self._seconds_per_post = (
                each if before is None else (1 - _WEIGHT) * before + _WEIGHT * each
            )

    @property
    def posts(self) -> int:
        """At most so many posts in the next chunk."""
        each = self._seconds_per_post
        if not each:
            return self._largest
        return max(
            min(SMALLEST, self._largest), min(self._largest, int(self._chunk_seconds / each))
        )
