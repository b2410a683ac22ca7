"""A bounded pool of threads whose users always get an answer, even while it is being closed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Threads that are started when first needed, and shared by all fetches of a source."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do `work` on a thread; the future is cancelled where the pool is closed first.

        Wait for it with `result` or a callback, not with `concurrent.futures.wait` or
        `as_completed`: those never hear of a future that `shutdown(cancel_futures=True)` cancelled.
        """
        try:
            return self._executor.submit(work, *args, **kwargs)
        except RuntimeError:  # the pool is closed
            refused: Future[T] = Future()
            refused.cancel()
            return refused

    def close(self) -> None:
        """Wait for the work under way, cancel what has not begun, end the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)
