"""An orderly end: chunks in hand are finished within a grace period, or given back whole.

Celery's own shutdown waits for its threads however long they take, and leaves unfinished chunks to
their leases. Here, shutting down never waits for a lease to expire.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

GIVE_BACK_SECONDS = 5.0
"""Longest wait for Redis while chunks are given back; if it is away, their leases expire."""

STUCK_EXIT_CODE = 1


class Ending:
    """A thread that sees to the end, whatever Celery's main thread is doing meanwhile.

    Args:
        grace_seconds: from the first request to end until what is unfinished is given back.
        stop_taking: takes nothing more in hand.
        give_back: gives back, whole, all that is in hand.
        leave: ends the process with an exit code.
    """

    def __init__(
        self,
        *,
        grace_seconds: float,
        stop_taking: Callable[[], None],
        give_back: Callable[[], None],
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._stop_taking = stop_taking
        self._give_back = give_back
        self._leave = leave
        # A queue and no Event: a signal handler may interrupt itself, and only this is reentrant.
        self._requests: SimpleQueue[tuple[bool, int]] = SimpleQueue()
        self.begun = False
        self._thread = threading.Thread(target=self._run, name="ending", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def ask(self, *, now: bool = False, exit_code: int = 0) -> None:
        """Ask for the end; to be called from signal handlers too.

        Args:
            now: give back at once instead of finishing what is in hand.
        """
        self.begun = True
        self._requests.put((now, exit_code))

    def ask_again(self, *, cold: bool) -> None:
        """A signal asks for the end: the first leaves the grace period, the second does not."""
        self.ask(now=cold or self.begun)

    def _run(self) -> None:
        now, exit_code = self._requests.get()
        deadline = time.monotonic() + self._grace_seconds
        self._stop_taking()
        while not now:
            try:
                now, exit_code = self._requests.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
        # Should all be finished before, the process has ended by itself and never comes here.
        giving = threading.Thread(target=self._give_back, name="give-back", daemon=True)
        giving.start()
        giving.join(GIVE_BACK_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(exit_code)
