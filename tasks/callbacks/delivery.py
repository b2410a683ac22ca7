"""Delivery: events are claimed from the outbox, sent by a few threads, and settled together."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from deadpan.core import spans, trace
from storage.base.database import transaction
from storage.judging import outbox
from storage.judging.outbox import TakenEvent, Tried
from tasks.callbacks import metrics
from tasks.callbacks.webhook import Answer, Sender

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 27
"""With delays from 5 seconds to 2 hours these are 26 hours at the least, 33 on average."""
MAX_DELAY_SECONDS: Final = 7200.0
_CLAIMED_PER_CONNECTION: Final = 4
_LEASE_MARGIN_SECONDS: Final = 5.0
_TROUBLE: Final = 5
"""So many failures in a row are the receiver's and no single event's."""
_MAX_REST_SECONDS: Final = 30.0
_TELLING_ATTEMPTS: Final = 3
"""What fails for the fourth time, while others are accepted, is an event in trouble."""


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often a callback is tried before it is parked, and how long it rests in between."""

    base_seconds: float = 5.0  # after the first failed try; doubles with each
    max_attempts: int = MAX_ATTEMPTS
    jitter: Callable[[], float] = _jitter  # a factor, so that they do not all come back at once

    def delay_seconds(self, attempts: int, *, asked_seconds: float | None = None) -> float | None:
        """How long to wait after so many tries; None when that was the last.

        Args:
            asked_seconds: what the receiver asked for; the delay is never shorter.
        """
        if attempts >= self.max_attempts:
            return None
        growing = self.base_seconds * 2.0 ** min(attempts - 1, 30)
        return max(min(growing, MAX_DELAY_SECONDS) * self.jitter(), asked_seconds or 0.0)


class Patience:
    """Spares a receiver in trouble: after five failures in a row it is asked once in a while, with
    one event, and at full speed again as soon as one was accepted.

    Without it, each of a million waiting events would be tried 27 times against a receiver that is
    down, and be parked or hours late when it comes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rest_until = 0.0
        self._lock = threading.Lock()

    def saw(self, answer: Answer, *, attempts: int) -> None:
        """Take note of what came of a try, the so-manieth of its event."""
        tells = answer.is_receivers and attempts <= _TELLING_ATTEMPTS
        with self._lock:
            if answer.delivered:
                self._failures = 0
            elif tells:
                self._failures += 1
            rest_seconds = answer.retry_after_seconds or 0.0
            if tells and self._failures >= _TROUBLE:
                growing = 2.0 ** min(self._failures - _TROUBLE, 10)
                rest_seconds = max(rest_seconds, min(growing, _MAX_REST_SECONDS))
            self._rest_until = max(self._rest_until, self._clock() + rest_seconds)

    @property
    def allowed(self) -> int | None:
        """How many events may be on their way: none, one, or any number (None)."""
        with self._lock:
            if self._clock() < self._rest_until:
                return 0
            return 1 if self._failures >= _TROUBLE else None


class Deliverer:
    """Delivers what is due, over so many connections; one thread calls `turn` again and again."""

    def __init__(
        self,
        sender: Sender,
        *,
        schedule: Schedule,
        connections: int,
        patience: Patience | None = None,
    ) -> None:
        self._sender = sender
        self._schedule = schedule
        self._patience = patience or Patience()
        self._room = connections * _CLAIMED_PER_CONNECTION
        # Those at the end of the line wait for the tries before them, each as long as it may take.
        self._lease_seconds = (
            _CLAIMED_PER_CONNECTION * sender.timeout_seconds + _LEASE_MARGIN_SECONDS
        )
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="callback")
        self._done: queue.SimpleQueue[Tried] = queue.SimpleQueue()
        self._unwritten: list[Tried] = []
        self._in_hand = 0
        self._stopping = threading.Event()

    def turn(self, database: Engine, *, wait_seconds: float, claiming: bool = True) -> bool:
        """Settle what came back, claim what is due, send it.

        Args:
            wait_seconds: how long to wait for a try under way, if there is one.
            claiming: whether to begin anything new.

        Returns:
            whether anything was done or is under way, so that another turn should follow at once.

        Raises:
            StorageError: the database is away; what came back is settled in a later turn.
        """
        self._gather(wait_seconds if self._in_hand else 0.0)
        settled = len(self._unwritten)
        room = self._room_now() if claiming else 0
        if not settled and not room:
            return self._in_hand > 0
        claimed: list[TakenEvent] = []
        with transaction(database) as connection:
            outbox.settle(connection, self._unwritten)
            if room:
                claimed = self._claim(connection, room)
        self._unwritten.clear()
        ends_at = time.monotonic() + self._lease_seconds - self._sender.timeout_seconds
        for event in claimed:
            self._in_hand += 1
            self._threads.submit(self._deliver, event, ends_at)
        return bool(settled or self._in_hand)

    def stop(self) -> None:
        """Begin no further try; those under way come to their end. Safe from any thread."""
        self._stopping.set()

    def close(self, database: Engine | None) -> None:
        """Wait for the tries under way, and settle them, unless the database is away (None)."""
        self.stop()
        self._threads.shutdown(wait=True)
        self._gather(0.0)
        if database is not None and self._unwritten:
            with transaction(database) as connection:
                outbox.settle(connection, self._unwritten)
        self._sender.close()

    def _room_now(self) -> int:
        if self._stopping.is_set():
            return 0
        allowed = self._patience.allowed
        most = self._room if allowed is None else min(allowed, self._room)
        room = most - self._in_hand
        # By halves: claims of one event each would cost a transaction each.
        return max(0, room) if room >= most / 2 else 0

    def _claim(self, connection: Connection, room: int) -> list[TakenEvent]:
        if self._patience.allowed is not None:
            # One event is to tell whether the receiver is back. Those that were tried, or wait
            # longest, may be the very ones that it always fails for, and hold back all others.
            fresh = outbox.take_due(
                connection, limit=room, seconds=self._lease_seconds, untried=True
            )
            if fresh:
                return fresh
        return outbox.take_due(connection, limit=room, seconds=self._lease_seconds)

    def _gather(self, wait_seconds: float) -> None:
        """Take what has come back; wait for the first of it."""
        try:
            while True:
                tried = self._done.get(wait_seconds > 0.0, wait_seconds or None)
                self._unwritten.append(tried)
                self._in_hand -= 1
                wait_seconds = 0.0
        except queue.Empty:
            pass

    def _deliver(self, event: TakenEvent, ends_at: float) -> None:
        try:
            tried = self._tried(event, ends_at)
        except Exception as error:
            # A defect of ours; the event is tried again as after any other failure.
            log.exception("callback failed unexpectedly", callback=event.idempotency_key)
            tried = self._failed(event, Answer(False, f"it could not be sent: {error!r}"))
        self._done.put(tried)

    def _tried(self, event: TakenEvent, ends_at: float) -> Tried:
        # Past `ends_at` the claim may end during the try: this process was held up.
        if self._stopping.is_set() or self._patience.allowed == 0 or time.monotonic() > ends_at:
            return Tried(event, "untried")
        context = trace.parse(event.traceparent)
        with spans.span(
            "callback",
            kind="client",
            # Of an event from before there were traces nothing is known.
            parent=context or trace.new(),
            event=event.event,
            callback=event.idempotency_key,
            post_id=event.post_id,
            attempts=event.attempts,
        ) as span:
            handed_on = span.context
            answer = self._sender.send(
                event, traceparent=handed_on.traceparent if handed_on else None
            )
            if not answer.delivered:
                span.failed(answer.error)
        self._patience.saw(answer, attempts=event.attempts)
        if not answer.delivered:
            return self._failed(event, answer)
        metrics.CALLBACKS.labels("delivered").inc()
        log.info(
            "callback delivered",
            callback=event.idempotency_key,
            post_id=event.post_id,
            trace_id=context and context.trace_id,
            attempts=event.attempts,
        )
        return Tried(event, "delivered")

    def _failed(self, event: TakenEvent, answer: Answer) -> Tried:
        delay_seconds = self._schedule.delay_seconds(
            event.attempts, asked_seconds=answer.retry_after_seconds
        )
        context = trace.parse(event.traceparent)
        said = {
            "callback": event.idempotency_key,
            "post_id": event.post_id,
            "trace_id": context and context.trace_id,
            "error": answer.error,
            "attempts": event.attempts,
        }
        if answer.is_final or delay_seconds is None:
            metrics.CALLBACKS.labels("parked").inc()
            log.error("callback parked", **said)
            return Tried(event, "parked", error=answer.error)
        metrics.CALLBACKS.labels("failed").inc()
        log.warning("callback is tried again later", delay_seconds=round(delay_seconds, 1), **said)
        return Tried(event, "failed", delay_seconds, answer.error)
