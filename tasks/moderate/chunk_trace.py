"""The traces of a chunk's posts while it is in hand: log lines, and spans where they are on.

A chunk is a span of its own, with its stages below it. A post is a span in the trace of its
producer, or in its own; the two are linked, because a chunk has posts of many traces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import structlog

from deadpan.core import spans, trace
from deadpan.core.spans import Span
from storage.judging.values import Recorded
from tasks.intake.chunks import Chunk, Entry
from tasks.intake.post_ids import id_problem, printable
from tasks.moderate.outcomes import Outcomes

log = structlog.get_logger(__name__)

_PRIORITIES = {b"h": "high", b"n": "normal", b"l": "low"}


class ChunkTrace:
    """A chunk whose entries carry the trace that is handed on with each post.

    Attributes:
        chunk: as it was taken; where spans are on, each post's trace names its span.
    """

    def __init__(self, chunk: Chunk, posts: list[Span]) -> None:
        self.chunk = chunk
        self._posts = posts

    def tell(self, outcomes: Outcomes, recorded: Recorded | None) -> None:
        """Say what became of each post; of failures, a line was written when they happened.

        Args:
            recorded: what the transaction wrote.
        """
        told = _told(outcomes, recorded)
        for number, entry in enumerate(self.chunk.entries):
            post_id = _shown(entry)
            became = told.get(post_id) or {"outcome": "unchanged"}
            if became["outcome"] in ("judged", "unchanged", "gone"):
                log.info("post done", post_id=post_id, trace_id=entry.trace.trace_id, **became)
            if self._posts:
                self._posts[number].set(
                    **{key: value for key, value in became.items() if value is not None}
                )


@contextmanager
def in_hand(chunk: Chunk, *, dispatched_at: float | None) -> Iterator[ChunkTrace]:
    """Follow a chunk through the block.

    Args:
        dispatched_at: when it was sent as a message, in seconds since 1970 by the clock of the
            worker that sent it.
    """
    log.info(
        "chunk taken", posts=len(chunk.entries), losses=chunk.losses, trace_ids=chunk.trace_ids
    )
    if not spans.are_on():
        yield ChunkTrace(chunk, [])
        return
    posts = [_begin(entry) for entry in chunk.entries]
    entries = tuple(
        replace(entry, trace=post.context or entry.trace)
        for entry, post in zip(chunk.entries, posts, strict=True)
    )
    taken_at = time.time()
    began_at = min(dispatched_at or taken_at, taken_at)
    try:
        with spans.span(
            "chunk",
            kind="consumer",
            parent=trace.new(),
            links=[entry.trace for entry in entries if entry.trace.flags & 1],
            began_at=began_at,
            chunk=chunk.id,
            posts=len(entries),
            losses=chunk.losses,
        ) as whole:
            spans.span("dispatch", began_at=began_at).end()
            for post in posts:
                post.link(whole.context)
            yield ChunkTrace(replace(chunk, entries=entries), posts)
    finally:
        for post in posts:
            post.end()


def _begin(entry: Entry) -> Span:
    return spans.span(
        "post",
        kind="consumer",
        parent=entry.trace,
        post_id=_shown(entry),
        priority=_PRIORITIES.get(entry.raw[:1], "normal"),
        attempts=entry.attempts + 1,
    )


def _shown(entry: Entry) -> str:
    post_id = entry.id_bytes
    return printable(post_id) if id_problem(post_id) else post_id.decode()


_Became = dict[str, str | int | None]


def _told(outcomes: Outcomes, recorded: Recorded | None) -> Mapping[str, _Became]:
    """What became of posts, by post id; nothing of those that are unchanged."""
    told: dict[str, _Became] = {}
    verdicts = recorded.verdict_ids if recorded else {}
    flags = {**recorded.opened_flag_ids, **recorded.updated_flag_ids} if recorded else {}
    for verdict in outcomes.verdicts:
        post_id = verdict.post_id
        told[post_id] = {
            "outcome": "judged",
            # None where another worker wrote the very same verdict first.
            "verdict": verdicts.get(post_id),
            "flag": flags.get(post_id),
        }
    told |= {post.post_id: {"outcome": "gone"} for post in outcomes.gone}
    told |= {letter.post_id: {"outcome": "dead_letter"} for letter in outcomes.dead_letters}
    told |= {
        _shown(retry.entry): {"outcome": "retry" if retry.counts else "untried"}
        for retry in outcomes.retries
    }
    told |= {post.asked.post_id: {"outcome": "awaited"} for post in outcomes.awaited}
    return told
