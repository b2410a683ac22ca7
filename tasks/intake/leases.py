"""Keeps the leases of the chunks that this process holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from deadpan.core.errors import DeadpanError
from tasks.intake.chunks import Chunk
from tasks.intake.intake import Intake

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """A thread that renews every lease three times before it would expire.

    Args:
        on_room: called when a chunk in hand fills its slot no more.

    Attributes:
        taken: chunks taken since the start.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        lease_seconds: float,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._intake = intake
        self._on_room = on_room
        self._lease_seconds = lease_seconds
        self._held: dict[str, Chunk] = {}
        self._aside: dict[str, Chunk] = {}
        self._lost: set[str] = set()
        self._taking = 0
        self._closed = False
        self.taken = 0
        self._lock = threading.Lock()
        self._gate = threading.Lock()
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
        """Chunks in hand that fill a slot."""
        with self._lock:
            return len(self._held)

    def put_aside(self, chunk: Chunk) -> None:
        """Keep the lease of a chunk in hand that fills no slot any more, until `let_go`."""
        with self._lock:
            if self._held.pop(chunk.id, None) is not None:
                self._aside[chunk.id] = chunk
        self._on_room()

    def let_go(self, chunk: Chunk) -> None:
        """Renew the lease of a chunk that was put aside no longer."""
        with self._lock:
            self._aside.pop(chunk.id, None)
            self._lost.discard(chunk.id)

    @contextmanager
    def steady(self) -> Iterator[None]:
        """While it is open, nothing is taken here: `held`, and what Redis says of chunks that were
        dispatched and not taken, belong together. Else a dispatcher that looks at one and then at
        the other would miss what is taken in between, and dispatch too much."""
        with self._gate:
            yield

    @contextmanager
    def taken_in_hand(self, chunk_id: str, *, owner: str) -> Iterator[Chunk | None]:
        """Take a dispatched chunk, and keep its lease while the block runs.

        Yields the chunk, or None when it is finished, held elsewhere, or this worker takes no more.
        """
        with self._lock:
            taking = not self._closed
            self._taking += taking
        if not taking:
            yield None
            return
        chunk = None
        with self._gate:
            try:
                chunk = self._intake.take(chunk_id, owner=owner, lease_seconds=self._lease_seconds)
            finally:
                with self._lock:
                    self._taking -= 1
                    if chunk is not None:
                        self._held[chunk.id] = chunk
                        self.taken += 1
        try:
            yield chunk
        finally:
            with self._lock:
                self._held.pop(chunk_id, None)
                if chunk_id not in self._aside:
                    self._lost.discard(chunk_id)
            self._on_room()

    def give_back_all(self, *, patience_seconds: float = 2.0) -> int:
        """Take nothing more, and give back, whole and at once, what is held; says how many.

        Args:
            patience_seconds: longest wait for a chunk that is being taken at this moment.
        """
        with self._lock:
            self._closed = True
        deadline = time.monotonic() + patience_seconds
        while self._taking and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            held = self._all()
            # Whoever works on one sees that it is lost, and records nothing more.
            self._lost |= {chunk.id for chunk in held}
        return sum(self._intake.give_back(chunk, delay_seconds=0.0) for chunk in held)

    def is_lost(self, chunk: Chunk) -> bool:
        """Whether another worker was seen to have taken the chunk over."""
        with self._lock:
            return chunk.id in self._lost

    def _all(self) -> list[Chunk]:
        return [*self._held.values(), *self._aside.values()]

    def _run(self) -> None:
        while not self._stop.wait(self._lease_seconds / 3):
            with self._lock:
                held = self._all()
            try:
                lost = self._intake.renew(held, lease_seconds=self._lease_seconds)
            except DeadpanError as error:
                log.warning("leases not renewed", error=str(error), chunks=len(held))
                continue
            with self._lock:
                self._lost |= lost & {chunk.id for chunk in self._all()}
            for chunk in held:
                if chunk.id in lost:
                    log.warning(
                        "chunk was taken over by another worker",
                        chunk=chunk.id,
                        trace_ids=chunk.trace_ids,
                    )
