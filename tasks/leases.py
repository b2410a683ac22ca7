"""Keeps the leases of the chunks that this process holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from deadpan.errors import DeadpanError
from tasks.intake import Chunk, Intake

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """A thread that renews every lease three times before it would run out.

    Args:
        lease_seconds: how long a renewed lease lasts.
    """

    def __init__(self, intake: Intake, *, lease_seconds: float) -> None:
        self._intake = intake
        self._lease_seconds = lease_seconds
        self._held: dict[str, Chunk] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; what is still held is dispatched again when its lease runs out."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    @property
    def held(self) -> int:
        """Chunks in hand."""
        with self._lock:
            return len(self._held)

    @contextmanager
    def hold(self, chunk: Chunk) -> Iterator[None]:
        """Keep the lease of a chunk while the block runs."""
        with self._lock:
            self._held[chunk.id] = chunk
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(chunk.id, None)
                self._lost.discard(chunk.id)

    def is_lost(self, chunk: Chunk) -> bool:
        """Whether another worker was seen to have taken the chunk over."""
        with self._lock:
            return chunk.id in self._lost

    def _run(self) -> None:
        while not self._stop.wait(self._lease_seconds / 3):
            with self._lock:
                held = list(self._held.values())
            try:
                lost = self._intake.renew(held, lease_seconds=self._lease_seconds)
            except DeadpanError as error:
                log.warning("leases not renewed", error=str(error), chunks=len(held))
                continue
            with self._lock:
                self._lost |= lost & self._held.keys()
            for chunk_id in lost:
                log.warning("chunk was taken over by another worker", chunk=chunk_id)
