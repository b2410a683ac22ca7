"""Waiting at startup for a server that is away; running processes handle outages otherwise."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from deadpan.core.errors import DatabaseRefused, DatabaseUnavailable, QueueRefused, QueueUnavailable

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
"""As often as a running worker asks."""


class Waiting:
    """What a starting process waits for.

    Attributes:
        why: which server is away and its error, or None; other threads, such as /readyz, read it.
    """

    def __init__(self) -> None:
        self.why: str | None = None

    def until_answers(self, ask: Callable[[], object]) -> None:
        """Ask, less and less often, until there is an answer, however long that takes.

        Args:
            ask: raises DatabaseUnavailable or QueueUnavailable while its server is away.

        Raises:
            DatabaseRefused, QueueRefused: the server answers, and waiting will not help.
            DeadpanError: whatever else `ask` raises.
        """
        began, pause_seconds = time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            try:
                ask()
            except (DatabaseRefused, QueueRefused):
                raise
            except (DatabaseUnavailable, QueueUnavailable) as error:
                if self.why != str(error):
                    log.warning("waiting for a server", why=str(error))
                self.why = str(error)
            else:
                if self.why is not None:
                    log.info("it answers", seconds=round(time.monotonic() - began, 1))
                self.why = None
                return
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While open, SIGTERM and Ctrl-C end this process at once with exit code 0.

    The first process of a container ignores signals without a handler. Only the main thread can
    set one; in any other, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
