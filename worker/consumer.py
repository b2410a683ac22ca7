"""Celery's consumer, mended where a lost connection or a spoilt message ended the worker."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer
from redis.exceptions import ResponseError

from worker.messages import guard

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 2.0
"""Longest pause between two tries. Celery's own grows by 2 to 30 seconds and no setting changes it,
so that after a minute without Redis a worker slept on for up to 16 seconds."""


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """See `worker_consumer` in Celery's settings."""

    def __init__(
        self, *args: Any, worker_options: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        # What workers tell one another nobody asks for here, and no setting turns it off.
        quiet = {"without_gossip": True, "without_mingle": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **quiet}, **more)
        # kombu 5.6 and 5.7 use a connection once more that another thread has seen break, and find
        # None in its place. To the worker that is the same: a connection was lost.
        self._lost_connection = self.connection_errors  # type: ignore[has-type]
        self.connection_errors = (*self.connection_errors, AttributeError)  # type: ignore[has-type]

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying as long as it takes."""
        guard(conn.transport, _put_aside)
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=1,
            interval_step=1,
            interval_max=RECONNECT_SECONDS,
        )
        return super().ensure_connected(conn)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait: Redis that refuses while Celery sets up its queues would be asked without pause."""
        super().on_connection_error_before_connected(exc)
        time.sleep(RECONNECT_SECONDS)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Drop the lost connection.

        With a message in hand that is not acknowledged yet, kombu's `restore_unacked` fails here
        on a connection that is closed already (AttributeError: 'NoneType' object has no attribute
        'hostname'), which ended the worker at every restart of Redis that met a chunk in hand.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            log.debug("lost connection not closed in order", error=str(error))
        if isinstance(exc, ResponseError):
            # It was not lost: Redis refused, and will refuse again at once (a key of another type).
            time.sleep(RECONNECT_SECONDS)

    # Messages that came past `worker.messages`: Celery would log them and forget them.

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It has no task."""
        self._put_aside(message, "no task is in it")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its task is none of ours."""
        self._put_aside(message, f"unknown task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its task cannot be run as it asks."""
        self._put_aside(message, f"invalid task: {exc}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body cannot be read."""
        self._put_aside(message, f"unreadable body: {exc}")

    def create_task_handler(self, *args: Any, **more: Any) -> Callable[[Any], Any]:
        """What is done with a message; nothing in one can end the loop."""
        handle = super().create_task_handler(*args, **more)

        def handle_or_put_aside(message: Any) -> Any:
            try:
                return handle(message)
            except (*self._lost_connection, *self.channel_errors):
                raise
            except Exception as error:
                return self._put_aside(message, f"{type(error).__name__}: {error}")

        return handle_or_put_aside

    def _put_aside(self, message: Any, why: str) -> None:
        _put_aside(json.dumps(message._raw).encode(), why)
        message.reject_log_error(logging.getLogger(__name__), self.connection_errors)


def _put_aside(message: bytes, why: str) -> None:
    from worker import runtime

    runtime.current().spoilt.put_aside(message, why)
