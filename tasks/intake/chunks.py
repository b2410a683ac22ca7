"""Chunks as values: what was dispatched, what is held, what is tried again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from deadpan.core import trace
from deadpan.core.trace import TraceContext

REVISITS = ".revisits"
"""How the ids of chunks end whose posts are looked at again (`dispatch.lua`)."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A chunk that is to be sent as a Celery message.

    Attributes:
        how: `new`, `again` when nobody finished it, `split` when it was halved as well, or
            `revisit` when its posts were judged without pictures that may be there now.
        due_ms: when its lease runs out, by the server's clock, unless somebody takes it before.
    """

    chunk_id: str
    posts: int
    how: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One post id in a chunk."""

    raw: bytes  # h, n or l for its priority, and the bytes that the producer pushed
    attempts: int  # that failed so far
    trace: TraceContext = field(default_factory=trace.new)  # is handed on with the post

    @property
    def id_bytes(self) -> bytes:
        """The post id as it was pushed."""
        return split(self.raw[1:])[0]


def revisit_of(entry: Entry) -> bytes:
    """An entry with which a post is looked at again: after everything else, in the same trace."""
    return b"l" + entry.id_bytes + b"\t" + entry.trace.traceparent.encode()


def split(pushed: bytes) -> tuple[bytes, bytes]:
    """A post id and its `traceparent`, of what a producer pushed: `ID`, or `ID TAB TRACEPARENT`.

    A tab can be in no id. What follows it and does not look like a `traceparent` is left where it
    is, so that it becomes a dead letter which shows it.
    """
    post_id, tab, traceparent = pushed.partition(b"\t")
    if not tab or (traceparent and not trace.looks_like_one(traceparent)):
        return pushed, b""
    return post_id, traceparent


def traced_entry(raw: bytes, attempts: int, trace_id: bytes) -> Entry:
    """An entry with the trace that its producer gave it, or else one of this id.

    Args:
        trace_id: 32 hexadecimal digits that Redis keeps for the post while it is in hand.
    """
    given = trace.parse(split(raw[1:])[1]) if b"\t" in raw else None
    return Entry(raw, attempts, given or TraceContext(trace_id.decode()))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that is held under a lease.

    Attributes:
        losses: how often its owner fell silent while it held these posts.
        waited: seconds from the push of a priority's (h, n or l) first post until the chunk was
            taken, to about a second; a priority that is not there is unknown.
        taken_at: by the monotonic clock of this process.
    """

    id: str
    owner: str
    losses: int
    entries: tuple[Entry, ...]
    waited: Mapping[bytes, float] = field(default_factory=dict)
    taken_at: float = field(default_factory=time.monotonic)

    @property
    def is_revisit(self) -> bool:
        """Whether its posts have verdicts, and are looked at again for pictures that were missing:
        then only what came is recorded, and nothing counts as a try."""
        return self.id.endswith(REVISITS)

    def post_seconds(self, entry: Entry) -> float | None:
        """From the push of a post of this chunk until now, or None where that is not known."""
        waited = self.waited.get(entry.raw[:1])
        return None if waited is None else waited + time.monotonic() - self.taken_at

    @property
    def trace_ids(self) -> list[str]:
        """Of its posts, for log lines that are about all of them."""
        return [entry.trace.trace_id for entry in self.entries]


@dataclass(frozen=True, slots=True)
class Retry:
    """An entry to be tried again after a delay."""

    entry: Entry
    delay_seconds: float
    counts: bool = True  # as one of its tries; not when it was never really asked for
