"""Notices a worker that is up and connected, and takes no work.

Celery on Redis has a history of it after a lost connection (celery #9191 among others): the worker
answers `ping`, its consumer sleeps, and chunks wait for slots that are free. Whatever the
cause, the remedy is the same: exit and be restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.intake.leases import LeaseKeeper

STUCK_SECONDS = 6.0
"""An idle consumer takes a message within a second; a busy machine may make it slower."""


class Watchdog:
    """Asked every few seconds whether this worker is stuck.

    Args:
        slots: chunks that the worker may have in hand.
        clock: seconds that only grow.
    """

    def __init__(
        self, leases: LeaseKeeper, *, slots: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases = leases
        self._slots = slots
        self._clock = clock
        self._taken = -1
        self._since = clock()

    def stuck(self, *, waiting: int) -> str | None:
        """Why this worker is stuck, or None while it is not known to be.

        Args:
            waiting: Celery messages and post ids that wait; 0 while Redis or the database is away.
        """
        now, taken = self._clock(), self._leases.taken
        idle = waiting > 0 and self._leases.held < self._slots and taken == self._taken
        if not idle:
            self._taken, self._since = taken, now
            return None
        if now - self._since < STUCK_SECONDS:
            return None
        return (
            f"{waiting} messages and posts wait, a slot is free, and none was taken for "
            f"{now - self._since:.0f} seconds"
        )
