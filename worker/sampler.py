"""Notes what has arrived, once a second, and shows it as metrics."""

from __future__ import annotations

import threading

import structlog
from prometheus_client import Gauge

from deadpan.core.errors import DeadpanError
from tasks.intake.arrivals import SAMPLE_SECONDS, Signal, note_sample, read_signal
from tasks.intake.intake import Intake
from tasks.watches import model_breaks

log = structlog.get_logger(__name__)

# Every worker and the autoscaler show the same intake; the metrics of `tasks.watches.metrics` are
# a worker's own, and an autoscaler that showed them would look like a worker that is not ready.
INTAKE_POSTS = Gauge("deadpan_intake_posts", "Post ids that wait in the intake.", ["priority"])
INTAKE_OLDEST_AGE_SECONDS = Gauge(
    "deadpan_intake_oldest_age_seconds", "For how long the oldest waiting post id has waited."
)
WORKERS_HEARD = Gauge("deadpan_workers_heard", "Workers that say on Redis that they live.")
WORKERS_SILENT = Gauge(
    "deadpan_workers_silent", "Workers that fell silent within an hour, and did not leave in order."
)

READ_EVERY = 5
"""Samples are written a second apart and read by every worker this much more seldom."""


class Sampler:
    """A thread that samples the intake while this process lives."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        looked = 0
        while not self._stop.is_set():
            try:
                if looked % READ_EVERY:
                    note_sample(self._intake)
                else:
                    show(read_signal(self._intake))
                    heard, silent = self._intake.heard()
                    WORKERS_HEARD.set(heard)
                    WORKERS_SILENT.set(silent)
                    model_breaks.show(self._intake)
                looked += 1
            except DeadpanError as error:
                log.debug("intake not sampled", error=str(error))
            self._stop.wait(SAMPLE_SECONDS)


def show(signal: Signal) -> None:
    """Set the metrics of the intake."""
    for priority, waiting in signal.waiting.items():
        INTAKE_POSTS.labels(priority).set(waiting.posts)
    INTAKE_OLDEST_AGE_SECONDS.set(signal.oldest_age_seconds)
