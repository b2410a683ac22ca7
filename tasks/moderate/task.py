"""The Celery task: one message, one chunk id.

Celery carries chunk ids and nothing else. What judges a chunk (the warm model, the source, the
database) is built once in a worker, which hands it over with `judge_with`; so a process that only
sends chunks needs no torch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery import shared_task

from deadpan.core import spans

if TYPE_CHECKING:
    from tasks.moderate.runner import ChunkRunner

DISPATCHED_AT = "dispatched_at"
"""A header of chunks' messages, where spans are on: seconds since 1970."""

_runner: ChunkRunner | None = None


def judge_with(runner: ChunkRunner) -> None:
    """From now on, chunks that come to this process are judged by this runner."""
    global _runner
    _runner = runner


@shared_task(name="deadpan.moderate", bind=True)  # type: ignore[untyped-decorator]
def moderate(self: Any, chunk_id: str) -> None:
    """Judge one chunk. The task's own id names the owner of the lease."""
    if _runner is None:
        raise RuntimeError("this process judges no chunks; call judge_with first")
    sent = (self.request.headers or {}).get(DISPATCHED_AT)
    _runner.run(
        chunk_id,
        owner=f"{self.request.hostname}/{self.request.id}",
        dispatched_at=sent if isinstance(sent, float) else None,
    )


def send(chunk_id: str) -> None:
    """Send one chunk to whichever worker is free."""
    headers = {DISPATCHED_AT: time.time()} if spans.are_on() else None
    moderate.apply_async((chunk_id,), headers=headers)
