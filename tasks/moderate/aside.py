"""Posts that wait for pictures longer than their chunk: out of every slot's way.

They stay in Redis in their chunk, under its lease, so a worker that is killed loses none; but they
fill no slot, so whatever their hosts do, nobody waits for them. What comes is judged as it comes,
a wave at a time; a post whose time is up is judged by what is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sources.pictures.awaited import POST_SECONDS
from tasks.intake.chunks import Chunk
from tasks.moderate.stages import Awaited, Fetched

log = structlog.get_logger(__name__)

MOST_POSTS = 512
"""Of one worker. Where more would wait, posts are judged at once by what is there."""

GATHER_SECONDS = 0.1
"""From the first post that is complete until the wave is judged, so that others may come too."""

LATE_SECONDS = 0.5
"""How often posts are looked at that wait for our own threads, beyond a post's time."""


@dataclass(eq=False, slots=True)
class Held:
    """A chunk of which some posts wait for pictures."""

    chunk: Chunk  # as it was taken, with all of its entries that are still in hand
    posts: list[Awaited]
    ready_since: float | None = None
    is_busy: bool = False


class Aside:
    """Holds posts that wait for pictures, and judges them as these come.

    Args:
        judge: judges a wave: posts of a held chunk that wait no longer. Gives whether the others
            go on waiting. Must not raise.
        max_bytes: of pictures that have come for posts that wait for others.
        threads: waves at once.
    """

    def __init__(
        self, judge: Callable[[Held, list[Fetched]], bool], *, max_bytes: int, threads: int
    ) -> None:
        self._judge = judge
        self._max_bytes = max_bytes
        self._most_threads = threads
        self._threads: list[threading.Thread] = []
        self._held: list[Held] = []
        self._is_closed = False
        self._change = threading.Condition()

    @property
    def posts(self) -> int:
        """How many wait."""
        with self._change:
            return sum(len(held.posts) for held in self._held)

    def has_room(self) -> bool:
        """Whether more may wait."""
        with self._change:
            posts = [each.post for held in self._held for each in held.posts]
        return (
            not self._is_closed
            and len(posts) < MOST_POSTS
            and sum(post.size() for post in posts) < self._max_bytes
        )

    def hold(self, chunk: Chunk, posts: list[Awaited]) -> bool:
        """Take over posts of a chunk in hand; False when this is closed, and takes nothing."""
        with self._change:
            if self._is_closed:
                return False
            self._held.append(Held(chunk, posts))
            if len(self._threads) < min(self._most_threads, len(self._held)):
                name = f"deadpan-aside-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._change.notify()
        posts[0].post.batch.tell(self._wake)
        return True

    def close(self, *, patience_seconds: float = 10.0) -> list[Chunk]:
        """Take nothing more, let waves under way end, and give the caller back the other chunks."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        until = time.monotonic() + patience_seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._change:
            left, self._held = [held.chunk for held in self._held], []
        return left

    def _wake(self) -> None:
        with self._change:
            self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                held, due = self._next()
                while held is None and not self._is_closed:
                    self._change.wait(due)
                    held, due = self._next()
                if held is None or self._is_closed:
                    return
                held.is_busy = True
                over = [each for each in held.posts if each.post.is_over()]
                held.posts = [each for each in held.posts if each not in over]
            hashes: dict[int, str] = {}
            goes_on = self._judge(held, [each.fetched(hashes) for each in over])
            for each in held.posts if not goes_on else ():
                each.post.fetched()  # nobody waits for it any more
            with self._change:
                held.is_busy, held.ready_since = False, None
                if not (goes_on and held.posts) and held in self._held:
                    self._held.remove(held)
                self._change.notify()

    def _next(self) -> tuple[Held | None, float]:
        """A chunk with posts to be judged, or in how many seconds there may be one."""
        now, due = time.monotonic(), 60.0
        for held in self._held:
            if held.is_busy:
                continue
            waiting = [each.post for each in held.posts]
            over = [post for post in waiting if post.is_over()]
            if len(over) == len(waiting):
                return held, 0.0
            if over:
                held.ready_since = held.ready_since or now
                left = held.ready_since + GATHER_SECONDS - now
                if left <= 0:
                    return held, 0.0
                due = min(due, left)
            left = waiting[0].batch.began_at + POST_SECONDS - now
            due = min(due, left if left > 0 else LATE_SECONDS)
        return None, due
