"""How many rows fit into memory at once: found out when there are too many."""

from __future__ import annotations

import time
from collections.abc import Callable

SMALL_SECONDS = 600.0
"""For so long after memory ran out batches stay small; then they double, once in that time. What
took the memory may have been another process's, and gone."""


class BatchBound:
    """Rows in one pass. To be used under one lock.

    Args:
        most: while memory suffices.
        clock: seconds that only grow.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._rows = most
        self._since = clock()

    @property
    def rows(self) -> int:
        """How many may be computed at once now."""
        while self._rows < self._most and self._clock() - self._since >= SMALL_SECONDS:
            self._rows = min(2 * self._rows, self._most)
            self._since += SMALL_SECONDS
        return self._rows

    def halve(self, tried: int) -> int:
        """Note that so many rows, two at least, did not fit; gives what is tried now."""
        self._rows = max(1, min(tried, self._rows) // 2)
        self._since = self._clock()
        return self._rows
