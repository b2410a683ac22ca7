"""Chunks as values: what was dispatched, what is held, what is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A chunk that `Intake.claim` took in hand: to be sent as a Celery message.

    Attributes:
        how: `new`, `again` when nobody finished it, or `split` when it was halved as well.
        due_ms: when its lease runs out, by the server's clock, unless somebody takes it before.
    """

    chunk_id: str
    posts: int
    how: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One post id in a chunk.

    Attributes:
        raw: h, n or l for its priority, and the bytes that the producer pushed.
        attempts: failed tries so far.
    """

    raw: bytes
    attempts: int

    @property
    def id_bytes(self) -> bytes:
        """The post id as it was pushed."""
        return self.raw[1:]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that is held under a lease.

    Attributes:
        losses: how often its owner fell silent while it held these posts.
    """

    id: str
    owner: str
    losses: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """An entry to be tried again after a delay."""

    entry: Entry
    delay_seconds: float
