"""Whether the post source is down or wants to be left alone, and which posts it cannot answer.

A source that fails says nothing of the post that was asked for, unless it fails for that post. So
a failure is a try of a post only once others were answered after it had failed before: each try
needs an answer of its own to somebody else, and neither an outage nor a pause is ever one. Until
then the post waits, longer each time, and stands in nobody's way: it is asked for by itself.

Several posts that fail, each of them alone, with no answer in between, are an outage. From then on
one post at a time asks for all, first of all one that has not failed yet; an answer, of whatever
kind, ends it. A post that is known to fail while others are answered is no sign of an outage.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from deadpan.core.errors import SourceUnavailable
from sources.net.throttle import Throttle
from sources.post import FetchFailure, FetchResult
from sources.source import PostSource
from tasks.watches import metrics
from tasks.watches.pace import CHUNK_SECONDS, SMALLEST
from tasks.watches.source_round import FEW, Round

log = structlog.get_logger(__name__)

PROBE_SECONDS = 5.0
"""How long a source that is down is left alone between two questions, and how long a post rests
that failed alone; that doubles each time."""

LONGEST_REST_SECONDS = 30.0
"""Whatever waits for the source is looked at again after so long: another worker may be answered,
and a source that is back has its posts judged soon."""

SLOT_SECONDS = 1.0
"""How long a slot waits that may ask nothing: else all that waits would be taken and given back."""

SILENT_SECONDS = 120.0
"""A worker that has asked nothing for so long does not know whether the source is silent."""

REFUSED_REST_SECONDS = 600.0
"""The longest rest of a post for which the source asks for a pause again and again."""

LONGEST_SECONDS = 86_400.0
"""After a day without any answer tries are counted again, so that nothing waits for ever."""

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a worker knows of its source."""

    down: bool  # it answers nothing, whatever is asked for
    paused_seconds: float  # for so long it wants to be left alone
    silent_seconds: float  # since its last answer; 0 when it answered last, or was not asked lately
    requests_at_once: int
    requests_per_second: float | None  # None without a limit
    slowed: bool  # it is asked less than it could be, because it refused


@dataclass(slots=True)
class _Suspect:
    """A post that failed alone."""

    failures: int = 0  # in a row
    refused: int = 0  # how often the source asked for a pause when this post was asked for
    spoils: bool = False  # it may spoil the answer to posts that are asked for with it
    others_answered: bool = False  # since it failed last
    blamed: bool = False  # whether that was so when it failed again


class SourceWatch:
    """Asks a source for posts, and knows whether it is down. Several slots may call it at once.

    The throttle is the source's own, where it has one: it knows of pauses.
    """

    def __init__(
        self,
        source: PostSource,
        *,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._throttle = throttle or Throttle(clock=clock)
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._suspects: dict[str, _Suspect] = {}
        self._doubtful: dict[str, None] = {}  # it is known that one of them spoils an answer
        self._signs: set[str] = set()  # posts that failed alone since the last answer
        self._silent_since: float | None = None
        self._failing_since: float | None = None  # refusals left out
        self._asked_at = clock()
        self._down = False
        self._ask_fresh_at = 0.0
        self._ask_again_at = 0.0
        self._pauses = 0

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """Fetch posts; see `sources.source.PostSource`.

        Raises:
            SourceUnavailable: nothing was learnt of any of these posts.
        """
        if not post_ids:
            return {}
        first = self._first_question(post_ids)
        asking = Round(self._source, clock=self._clock)
        if first is not None:
            asking.ask([first])
            if not asking.answered:
                return self._told(post_ids, asking)
        left = [post_id for post_id in post_ids if post_id != first]
        with self._lock:
            fresh = {post_id for post_id in left if post_id not in self._suspects}
            apart = [i for i in left if i not in fresh and self._suspects[i].spoils]
            apart.sort(key=self._failures)  # or the last of many would never be asked for
            doubtful = [i for i in left if i not in apart and i in self._doubtful]
        together = [i for i in left if i not in apart and i not in doubtful]
        if together and (spoilt := asking.ask(together)):
            asking.part(spoilt, fresh=fresh, is_down=self._is_down)
        asking.ask_apart([*doubtful, *apart])
        return self._told(post_ids, asking)

    def hold_seconds(self) -> float:
        """For how long no post need be taken in hand, because none could be asked for."""
        paused_seconds = self._throttle.limits.paused_seconds
        with self._lock:
            down_seconds = self._ask_fresh_at - self._clock() if self._is_down() else 0.0
        return max(paused_seconds, down_seconds, 0.0)

    def room(self, posts: int) -> int:
        """How many posts a chunk should hold, of at most so many: what the source takes in the
        time that a chunk may take."""
        allowed = min(float(posts), self._throttle.posts_in(CHUNK_SECONDS))
        return min(posts, max(SMALLEST, int(allowed)))

    @property
    def state(self) -> SourceState:
        """What is known of the source now."""
        limits = self._throttle.limits
        with self._lock:
            now, since = self._clock(), self._silent_since
            lately = limits.paused_seconds > 0 or now - self._asked_at < SILENT_SECONDS
            return SourceState(
                down=self._down,
                paused_seconds=limits.paused_seconds,
                silent_seconds=now - since if since is not None and lately else 0.0,
                requests_at_once=limits.at_once,
                requests_per_second=limits.per_second,
                slowed=limits.slowed,
            )

    def _is_down(self) -> bool:
        return self._down and self._is_patient()

    def _is_patient(self) -> bool:
        since = self._failing_since
        return since is None or self._clock() - since < LONGEST_SECONDS

    def _first_question(self, post_ids: Sequence[str]) -> str | None:
        """The post that asks for all while the source is down; None while it is not.

        Raises SourceUnavailable where nothing may be asked now.
        """
        left_seconds = self._throttle.limits.paused_seconds
        error = "the post source asked for a pause"
        with self._lock:
            if left_seconds <= 0.0:
                if not self._is_down():
                    return None
                now = self._clock()
                some = random.sample(post_ids, len(post_ids))
                first = min(some, key=lambda post_id: self._failures(post_id))
                # One that has not failed yet need not wait for those that have: they may be all
                # that is wrong.
                is_fresh = not self._failures(first)
                left_seconds = (self._ask_fresh_at if is_fresh else self._ask_again_at) - now
                if left_seconds <= 0.0:
                    self._ask_again_at = now + PROBE_SECONDS
                    if is_fresh:
                        self._ask_fresh_at = now + PROBE_SECONDS
                    return first
                error = "the post source is down"
        self._wait(min(left_seconds, SLOT_SECONDS))
        raise SourceUnavailable(error, wait_seconds=min(left_seconds, LONGEST_REST_SECONDS))

    def _failures(self, post_id: str) -> int:
        suspect = self._suspects.get(post_id)
        return suspect.failures if suspect else 0

    def _told(self, post_ids: Sequence[str], asking: Round) -> dict[str, FetchResult]:
        """What a round has shown of each post; raises SourceUnavailable where it is nothing."""
        with self._lock:
            self._asked_at = self._clock()
            self._count_pauses()
            if asking.answered:
                self._note_answers(asking.answered)
            for post_id in asking.results:
                self._doubtful.pop(post_id, None)
            self._doubtful |= dict.fromkeys(asking.doubtful)
            _forget(self._doubtful)
            results = {post_id: self._said_of(post_id, asking) for post_id in post_ids}
            waiting = [
                each for each in results.values() if isinstance(each, FetchFailure) and each.untried
            ]
            waiting.sort(key=lambda each: each.post_id not in asking.results)
            if waiting and self._silent_since is None and not asking.answered:
                self._silent_since = self._clock()
            if waiting:
                self._note_signs(waiting[0].error)
            if not waiting or asking.answered or _is_any_counted(results):
                return results
            rests = [each.retry_after_seconds or PROBE_SECONDS for each in waiting]
        raise SourceUnavailable(waiting[0].error, wait_seconds=min(rests))

    def _said_of(self, post_id: str, asking: Round) -> FetchResult:
        result = asking.results.get(post_id)
        if result is None:
            error = "the post source has not been asked for it yet"
            return FetchFailure(post_id, error, True, PROBE_SECONDS, untried=True)
        if not isinstance(result, FetchFailure) or not result.transient:
            return result
        if result.untried:
            return self._refused(result)
        if post_id in asking.alone:
            return self._failed_alone(result, asking)
        if post_id in asking.answered or not self._is_patient():
            return result
        return _untried(result, PROBE_SECONDS)

    def _refused(self, failure: FetchFailure) -> FetchFailure:
        """What becomes of a post that met a pause."""
        seconds = min(failure.retry_after_seconds or PROBE_SECONDS, LONGEST_REST_SECONDS)
        if failure.alone:
            suspect = self._suspect(failure.post_id)
            suspect.refused += 1
            if suspect.refused > FEW:
                # It may be what the source cannot bear, and would hold up everybody each time.
                rest_seconds = PROBE_SECONDS * 2.0 ** min(suspect.refused - FEW, 20)
                seconds = max(seconds, min(rest_seconds, REFUSED_REST_SECONDS))
        return _untried(failure, seconds)

    def _failed_alone(self, failure: FetchFailure, asking: Round) -> FetchFailure:
        if self._failing_since is None:
            self._failing_since = self._clock()
        suspect = self._suspect(failure.post_id)
        suspect.failures += 1
        suspect.spoils |= asking.alone[failure.post_id]
        if suspect.others_answered or not self._is_patient():
            suspect.blamed, suspect.others_answered = True, False
            return failure
        if not (suspect.blamed or asking.answered):
            self._signs.add(failure.post_id)
        rest_seconds = PROBE_SECONDS * 2.0 ** min(suspect.failures - 1, 20)
        return _untried(failure, min(rest_seconds, LONGEST_REST_SECONDS))

    def _suspect(self, post_id: str) -> _Suspect:
        suspect = self._suspects.pop(post_id, None) or _Suspect()
        self._suspects[post_id] = suspect  # the last that failed is forgotten last
        _forget(self._suspects)
        return suspect

    def _note_answers(self, answered: set[str]) -> None:
        for post_id in answered:
            self._suspects.pop(post_id, None)
        for suspect in self._suspects.values():
            suspect.others_answered = True
        self._signs.clear()
        since, self._silent_since, self._failing_since = self._silent_since, None, None
        if self._down:
            self._down = False
            metrics.SOURCE_DOWN.set(0)
            seconds = round(self._clock() - since, 1) if since is not None else None
            log.info("the post source answers again", seconds=seconds)

    def _note_signs(self, error: str) -> None:
        if self._down or len(self._signs) < FEW:
            return
        self._down = True
        self._ask_fresh_at = self._ask_again_at = self._clock() + PROBE_SECONDS
        metrics.SOURCE_DOWN.set(1)
        log.warning("the post source is down; posts wait without using up tries", error=error)

    def _count_pauses(self) -> None:
        pauses = self._throttle.limits.pauses
        if pauses > self._pauses:
            metrics.SOURCE_PAUSES.inc(pauses - self._pauses)
            limits = self._throttle.limits
            log.warning(
                "the post source asked for a pause; it gets fewer requests",
                seconds=round(limits.paused_seconds, 1),
                requests_at_once=limits.at_once,
                requests_per_second=limits.per_second and round(limits.per_second, 2),
            )
        self._pauses = pauses


def _forget(remembered: dict[str, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _untried(failure: FetchFailure, seconds: float) -> FetchFailure:
    return replace(failure, untried=True, retry_after_seconds=seconds)


def _is_any_counted(results: dict[str, FetchResult]) -> bool:
    return any(
        isinstance(each, FetchFailure) and each.transient and not each.untried
        for each in results.values()
    )
