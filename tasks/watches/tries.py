"""How often a post is tried, and how long it rests in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

MAX_RETRY_SECONDS = 600.0


def _jitter() -> float:
    return random.uniform(0.5, 1.5)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Tries:
    """How often, and how long in between."""

    max_attempts: int  # of one post, before it becomes a dead letter
    base_seconds: float  # after the first failed try; doubles with each
    jitter: Callable[[], float] = _jitter  # a factor, so that retries do not all come back at once

    def delay_seconds(self, failures: int) -> float:
        """How long to wait after so many failures before this one."""
        growing = self.base_seconds * 2.0 ** min(failures, 30)
        return min(growing, MAX_RETRY_SECONDS) * self.jitter()
