"""The stages that a chunk goes through, and what each of them takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from deadpan.core import spans


@contextmanager
def timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    """Add the seconds of the block to those of a stage; log lines in it name the stage.

    Args:
        stage: such as "fetch".
        timings: seconds by stage; not changed where the block raises.
    """
    started = time.perf_counter()
    with structlog.contextvars.bound_contextvars(stage=stage), spans.span(stage):
        yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - started
