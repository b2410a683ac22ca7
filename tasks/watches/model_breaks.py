"""That a worker's model broke, kept in Redis: the worker that could say so is gone within seconds.

model-broken    which worker, why, and when (JSON); gone after `SHOWN_SECONDS`
"""

from __future__ import annotations

import json
from typing import Any

import structlog
from prometheus_client import Gauge

from deadpan.core.errors import DeadpanError, QueueStateError
from tasks.intake.intake import Intake
from tasks.intake.post_ids import printable

log = structlog.get_logger(__name__)

SHOWN_SECONDS = 300
"""Longer than a start takes: while a worker breaks, starts again and breaks again, it is there all
the time."""

_KEY = "model-broken"

MODEL_BROKEN = Gauge(
    "deadpan_model_broken",
    "1 for five minutes after a worker ended because its model failed at every post.",
)


def note(intake: Intake, *, worker: str, why: str) -> None:
    """Keep it, and show it here as well. Raises nothing: the worker ends in any case."""
    MODEL_BROKEN.set(1)
    try:
        told = {"worker": worker, "why": why, "at": intake.now()}
        intake.put(_KEY, json.dumps(told), seconds=SHOWN_SECONDS)
    except DeadpanError as error:
        log.warning("could not tell Redis that the model broke", error=str(error))


def last(intake: Intake) -> dict[str, Any] | None:
    """The last one of the last five minutes: `worker`, `why`, `seconds_ago`.

    Raises:
        QueueUnavailable, QueueStateError.
    """
    found = intake.get(_KEY)
    if found is None:
        return None
    try:
        told = json.loads(found)
        return {
            "worker": str(told["worker"]),
            "why": str(told["why"]),
            "seconds_ago": max(0, intake.now() - int(told["at"])),
        }
    except (ValueError, KeyError, TypeError):
        raise QueueStateError(
            f"Redis key {intake.key(_KEY)} holds {printable(found)}, which Deadpan did not write; "
            "delete the key"
        ) from None


def show(intake: Intake) -> None:
    """Set the metric.

    Raises:
        QueueUnavailable, QueueStateError.
    """
    MODEL_BROKEN.set(last(intake) is not None)
