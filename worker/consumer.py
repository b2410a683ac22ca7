"""Celery's consumer, mended where a lost connection ended the worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer

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
        self.connection_errors = (*self.connection_errors, AttributeError)  # type: ignore[has-type]

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying as long as it takes."""
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
