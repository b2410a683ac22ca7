"""Whether the post source is down: then posts wait with it, and none of their tries is used up.

A source that fails says nothing of the post that was asked for, unless it fails for that post. So
it is down once several questions, each for one post alone, have failed and none was answered in
between. From then on one post at a time asks for all; an answer, of whatever kind, ends it. Before
that, too, a post that failed waits untried: only answers to others, and not its own silence, make
it the one to blame.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from deadpan.errors import SourceUnavailable
from sources.post import FetchFailure, FetchResult, PostSource
from tasks import metrics

log = structlog.get_logger(__name__)

FEW = 3
"""Questions for one post alone that have to fail before the source is blamed for it."""

PROBE_SECONDS = 5.0
"""How long a source that is down is left alone between two questions."""

SLOT_SECONDS = 1.0
"""How long a slot waits that may ask nothing: else all that waits would be taken and given back."""

EXCUSED = 3
"""So often may a post be without an answer while others get one, before it is to blame itself."""

LONGEST_SECONDS = 86_400.0
"""After a day without any answer tries are counted again, so that nothing waits for ever."""

_REMEMBERED = 10_000


class SourceWatch:
    """Asks a source for posts, and knows whether it is down. Several slots may call it at once.

    Args:
        clock: seconds that only grow.
        wait: gets seconds to spend.
    """

    def __init__(
        self,
        source: PostSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._failed: dict[str, int] = {}  # how often, alone, since the last answer
        self._without: dict[str, int] = {}
        self._silent_since: float | None = None
        self._down = False
        self._ask_at = 0.0

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """Fetch posts; see `sources.post.PostSource`.

        Raises:
            SourceUnavailable: the source is down, and this says nothing of these posts.
        """
        results: dict[str, FetchResult] = {}
        todo = list(post_ids)
        if todo and self._is_down():
            self._may_ask()
            first = random.choice(todo)  # noqa: S311 - no secret
            results = self._source.fetch([first])
            if _is_outage(results):
                self._blame([first], results)
            if not self._answered(results):
                raise SourceUnavailable("the post source is down", wait_seconds=PROBE_SECONDS)
            todo.remove(first)
        if todo:
            found = self._source.fetch(todo)
            if _is_outage(found):
                found |= self._alone(todo, found)
            self._answered(found)
            results |= found
        return results

    def _alone(
        self, post_ids: Sequence[str], results: Mapping[str, FetchResult]
    ) -> dict[str, FetchResult]:
        """What the first of these that is answered alone comes to: one post may spoil the answer
        to all that are asked for with it."""
        asked = [post_id for post_id in post_ids if _is_of_outage(results[post_id])]
        if len(post_ids) > 1:
            asked = random.sample(asked, min(FEW, len(asked)))
            for post_id in asked:
                found = self._source.fetch([post_id])
                if not _is_outage(found):
                    return found
        self._blame(asked, results)
        return {}

    def _is_down(self) -> bool:
        with self._lock:
            return self._down and self._is_patient()

    def _is_patient(self) -> bool:
        since = self._silent_since
        return since is not None and self._clock() - since < LONGEST_SECONDS

    def _may_ask(self) -> None:
        """Return in one slot every few seconds.

        Raises:
            SourceUnavailable: not now.
        """
        with self._lock:
            now = self._clock()
            left = self._ask_at - now
            if left <= 0:
                self._ask_at = now + PROBE_SECONDS
                return
        self._wait(min(left, SLOT_SECONDS))
        raise SourceUnavailable("the post source is down", wait_seconds=left)

    def _blame(self, asked: Sequence[str], results: Mapping[str, FetchResult]) -> None:
        """Note posts that failed alone.

        Raises:
            SourceUnavailable: none of them is known to be the one to blame.
        """
        with self._lock:
            if self._silent_since is None:
                self._silent_since = self._clock()
            for each in asked:
                self._failed[each] = self._failed.get(each, 0) + 1
            excused = {
                post_id: times
                for post_id, times in self._failed.items()
                if self._without.get(post_id, 0) < EXCUSED
            }
            began = not self._down and sum(excused.values()) >= FEW
            self._down |= began
            if self._down:
                self._ask_at = self._clock() + PROBE_SECONDS
            if not self._is_patient() or not (self._down or excused.keys() & set(asked)):
                return
        failure = next(
            each for each in results.values() if isinstance(each, FetchFailure) and each.outage
        )
        if began:
            metrics.SOURCE_DOWN.set(1)
            log.warning("the post source is down; posts wait, untried", error=failure.error)
        wait_seconds = max(PROBE_SECONDS, failure.retry_after_seconds or 0.0)
        raise SourceUnavailable(failure.error, wait_seconds=wait_seconds)

    def _answered(self, results: Mapping[str, FetchResult]) -> bool:
        """Note answers; whether there are any."""
        answered = {post_id for post_id, each in results.items() if _is_answer(each)}
        if not answered:
            return False
        with self._lock:
            for post_id in self._failed.keys() - answered:
                self._without[post_id] = self._without.get(post_id, 0) + 1
            for post_id in answered & self._without.keys():
                del self._without[post_id]
            while len(self._without) > _REMEMBERED:
                del self._without[next(iter(self._without))]
            self._failed.clear()
            since, self._silent_since = self._silent_since, None
            was_down, self._down = self._down, False
        if was_down and since is not None:
            metrics.SOURCE_DOWN.set(0)
            log.info("the post source answers again", seconds=round(self._clock() - since, 1))
        return True


def _is_of_outage(result: FetchResult) -> bool:
    return isinstance(result, FetchFailure) and result.outage


def _is_answer(result: FetchResult) -> bool:
    # What fails for good may have been refused without asking, such as an id with a comma.
    return not isinstance(result, FetchFailure) or (result.transient and not result.outage)


def _is_outage(results: Mapping[str, FetchResult]) -> bool:
    found = results.values()
    return any(map(_is_of_outage, found)) and not any(map(_is_answer, found))
