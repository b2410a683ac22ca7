"""A limit on how many a second."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from deadpan.core.errors import ConfigurationError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def rate_of(text: str) -> float:
    """How many a second `200/s`, `5000/min` or `1000000/h` are.

    Raises:
        ConfigurationError: it is no rate.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)/(s|min|h)", text.replace(",", "").strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigurationError(f"--rate is {text!r}; write it as 200/s, 5000/min or 1000000/h")
    return float(found[1]) / _SECONDS[found[2]]


class Rate:
    """Says how long to wait so that no more than so many a second go.

    Time that went by without any is not made up for: after a pause there is no burst.

    Args:
        per_second: None is no limit.
    """

    def __init__(
        self, per_second: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_second = per_second
        self._clock = clock
        self._free_at = clock()

    def wait_seconds(self) -> float:
        """Until more may go."""
        return max(0.0, self._free_at - self._clock())

    def went(self, count: int) -> None:
        """So many go now."""
        if self.per_second is not None:
            self._free_at = max(self._free_at, self._clock()) + count / self.per_second
