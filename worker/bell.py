"""Wakes the dispatcher: a post id was pushed, or a slot became free."""

from __future__ import annotations

import threading

import structlog

from deadpan.core.errors import DeadpanError, QueueRefused
from tasks.intake.intake import Intake
from tasks.intake.keys import PRIORITIES, Priority

log = structlog.get_logger(__name__)

LISTEN_SECONDS = 0.5
"""For how long Redis is asked at a time; a worker that ends waits for it."""

AWAY_SECONDS = 1.0
"""Pause after Redis failed to answer."""


class Bell:
    """Rings at once for what a dispatcher would else see only when it next looks.

    A thread for each priority listens while nothing waits. Nothing depends on it: who waits for the
    bell looks again after a moment anyway.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._rung = threading.Event()
        self._listening = {priority: threading.Event() for priority in PRIORITIES}
        self._pushed = False
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._listen, args=(priority,), name=f"bell-{priority}", daemon=True
            )
            for priority in PRIORITIES
        ]

    def start(self) -> None:
        """Begin to listen, when it is first waited for."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ring, and listen no more."""
        self._stopped.set()
        for listening in self._listening.values():
            listening.set()
        self.ring()

    def close(self) -> None:
        """Return once nothing of it asks Redis any more."""
        self.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2 * LISTEN_SECONDS)

    def ring(self) -> None:
        """Whoever waits goes on."""
        self._rung.set()

    def silence(self) -> bool:
        """Forget that it rang; tells whether it rang for a push."""
        self._rung.clear()
        pushed, self._pushed = self._pushed, False
        return pushed

    def wait(self, seconds: float, *, for_pushes: bool) -> None:
        """Return when it has rung since `silence`, or after so many seconds.

        Args:
            for_pushes: ring for these too. Not where ids wait already and none can be taken: it
                would never be still.
        """
        if for_pushes:
            for listening in self._listening.values():
                listening.set()
        self._rung.wait(seconds)

    def _listen(self, priority: Priority) -> None:
        listening = self._listening[priority]
        while listening.wait() and not self._stopped.is_set():
            try:
                waits = self._intake.await_push(priority, seconds=LISTEN_SECONDS)
            except QueueRefused as error:
                log.warning("pushes are seen only when the dispatcher looks", why=str(error))
                return
            except DeadpanError:
                # the dispatcher meets the same, and says it
                self._stopped.wait(AWAY_SECONDS)
                continue
            if waits:
                listening.clear()
                self._pushed = True
                self.ring()
