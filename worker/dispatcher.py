"""Dispatch: waiting ids become a chunk, and the chunk a Celery message, whenever a slot is free.

When idle, a post goes at once, alone; under load chunks fill by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from deadpan.core.errors import DeadpanError
from tasks.intake.chunks import Dispatched
from tasks.intake.intake import Intake
from tasks.intake.leases import LeaseKeeper
from tasks.watches.pace import Pace
from tasks.watches.source_watch import SourceWatch
from worker.bell import Bell

log = structlog.get_logger(__name__)

IDLE_SECONDS = 0.1
"""Longest pause when nothing waits or no slot is free, and no bell rings: retries fall due and
leases run out in silence. An idle worker costs Redis 10 scripts a second."""

AWAY_SECONDS = 1.0
"""Pause between tries while Redis is away."""


class Dispatcher:
    """A thread that fills this worker's free slots.

    Args:
        send: sends a chunk id as a Celery message.
        moderate: judges a chunk in this thread: Redis that is full refuses messages, and only
            chunks that end make room in it.
        source: says for how long nothing need be taken in hand, and how many posts at most.
        bell: wakes it.
        slots: chunks that this worker has in hand at once.
        pace: how many posts a chunk may hold.
    """

    def __init__(
        self,
        intake: Intake,
        leases: LeaseKeeper,
        send: Callable[[str], object],
        moderate: Callable[[str], object],
        *,
        source: SourceWatch,
        bell: Bell,
        slots: int,
        pace: Pace,
        lease_seconds: float,
    ) -> None:
        self._intake = intake
        self._leases = leases
        self._send = send
        self._moderate = moderate
        self._source = source
        self._bell = bell
        self._slots = slots
        self._pace = pace
        self._lease_seconds = lease_seconds
        self._untaken: list[Dispatched] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to dispatch."""
        self._bell.start()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def stop(self, *, patience_seconds: float = 10.0) -> None:
        """Dispatch nothing more; returns when the last message is sent, or patience ends."""
        self._stop.set()
        self._bell.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=patience_seconds)

    def hand_on(self) -> None:
        """Let others have at once what was dispatched here and never taken.

        Raises:
            QueueUnavailable: Redis cannot be reached; the leases will run out.
        """
        if count := self._intake.hand_on([chunk.chunk_id for chunk in self._untaken]):
            log.info("chunks handed on", chunks=count)

    def _run(self) -> None:
        away = False
        while not self._stop.is_set():
            pushed = self._bell.silence()
            try:
                dispatched = self._dispatch_one()
            except Exception as error:  # a thread that ended would leave a worker that does nothing
                if not away:
                    log.warning(
                        "dispatch waits",
                        error=str(error),
                        exc_info=not isinstance(error, (DeadpanError, OperationalError)),
                    )
                away = True
                self._stop.wait(AWAY_SECONDS)
                continue
            if away:
                log.info("dispatch goes on")
                away = False
            if not dispatched:
                # what was pushed and is not dispatched waits for a slot, or another worker has it
                self._bell.wait(IDLE_SECONDS, for_pushes=not pushed)

    def _dispatch_one(self) -> bool:
        if self._source.hold_seconds() > 0:
            return False  # what cannot be asked for waits in the intake, where others may take it
        with self._leases.steady():
            free = self._slots - self._leases.held
            if free <= 0:
                return False
            chunk = self._intake.dispatch(
                chunk_size=self._source.room(self._pace.posts),
                lease_seconds=self._lease_seconds,
                free_slots=free,
                untaken=self._untaken,
            )
        if chunk is None:
            return False
        self._untaken = [*self._untaken[-self._slots * 4 :], chunk]
        # Should sending fail, the chunk's lease runs out and it is dispatched again.
        try:
            self._send(chunk.chunk_id)
        except Exception as error:
            if not _is_full(error):
                raise
            log.warning("Redis is full; chunk is judged without a message", chunk=chunk.chunk_id)
            self._moderate(chunk.chunk_id)
        log.debug("chunk dispatched", chunk=chunk.chunk_id, posts=chunk.posts, how=chunk.how)
        return True


def _is_full(error: BaseException | None) -> bool:
    """Whether Redis refused for want of memory, however Celery wraps it."""
    while error is not None:
        if isinstance(error, OutOfMemoryError) or str(error).startswith("OOM "):
            return True
        error = error.__cause__ or error.__context__
    return False
