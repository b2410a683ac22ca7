"""One round of questions to a post source: all at once, then in parts where one spoils the rest."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Sequence

from sources.post import FetchFailure, FetchResult
from sources.source import PostSource

FEW = 3
"""Posts that have to fail, each of them alone, before the source is blamed for it."""

PARTS = 8
"""Eighths find one post of 64 in 16 requests and 2 steps, halves in 12 and 6; and a post whose
answer hangs makes each step as long as a time-out."""

MOST_REQUESTS = 64
"""Posts that are not told apart by then are asked for again later, untried."""

PARTING_SECONDS = 35.0
"""The same, for the time: good posts of a chunk wait no longer for what spoils it."""


class Round:
    """What one fetch asks a source, and what came of it.

    Attributes:
        results: the last of each post that was asked for.
        answered: posts that the source answered, in whatever way.
        alone: posts that failed in a request of their own, in order; the value is whether they
            were asked for by themselves on purpose, since they might spoil what is asked with them.
        doubtful: posts that were not told apart for want of time, or because of a pause.
    """

    def __init__(self, source: PostSource, *, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._give_up_at = clock() + PARTING_SECONDS
        self._requests = 0
        self.results: dict[str, FetchResult] = {}
        self.answered: set[str] = set()
        self.alone: dict[str, bool] = {}
        self.doubtful: set[str] = set()

    def ask(self, post_ids: Sequence[str]) -> list[str]:
        """Ask for posts together.

        Returns:
            Those whose answer another of them may have spoilt.
        """
        found = self._source.fetch(post_ids)
        self.results |= found
        shared = []
        for post_id, result in found.items():
            if is_answer(result):
                self.answered.add(post_id)
            if not isinstance(result, FetchFailure) or not result.transient or result.untried:
                continue
            if len(post_ids) > 1 and not result.alone:
                shared.append(post_id)
            elif result.outage:
                self.alone[post_id] = len(post_ids) == 1
        return shared

    def ask_apart(self, post_ids: Sequence[str]) -> None:
        """Ask for each post by itself, for as long as there is time and it is not in vain."""
        for post_id in post_ids:
            if self._is_over() or self._is_paused():
                return
            if len(self.alone) >= FEW and not self.answered:
                return
            self._requests += 1
            self.ask([post_id])

    def part(
        self, post_ids: Sequence[str], *, fresh: Collection[str], is_down: Callable[[], bool]
    ) -> None:
        """Find those of these posts that spoilt the answer to all.

        Nothing is parted before one of them was answered alone: of a source that is down there is
        nothing to find.

        Args:
            fresh: those that have not failed before.
            is_down: whether somebody else has found out that the source is down.
        """
        left = list(post_ids)
        if not self.answered:
            few = sorted(random.sample(left, len(left)), key=lambda post_id: post_id not in fresh)
            for post_id in few[:FEW]:
                if is_down():
                    return
                if self._is_paused():
                    break
                self.ask([post_id])
                left.remove(post_id)
                if self.answered:
                    break
            else:
                return
        parts = deque(_parts(left))
        while parts and not self._is_over() and not self._is_paused():
            self._requests += 1
            parts.extend(_parts(self.ask(parts.popleft())))
        self.doubtful.update(*parts)

    def _is_over(self) -> bool:
        return self._requests >= MOST_REQUESTS or self._clock() >= self._give_up_at

    def _is_paused(self) -> bool:
        return any(
            isinstance(each, FetchFailure) and each.untried for each in self.results.values()
        )


def is_answer(result: FetchResult) -> bool:
    """Whether the source is there, by what it said of a post."""
    if not isinstance(result, FetchFailure):
        return True
    # What fails for good may have been refused without asking, such as an id with a comma.
    return result.transient and not result.outage and not result.untried


def _parts(post_ids: Sequence[str]) -> list[list[str]]:
    """At most eight, of nearly the same size."""
    count = min(PARTS, len(post_ids))
    return [list(post_ids[number::count]) for number in range(count)]
