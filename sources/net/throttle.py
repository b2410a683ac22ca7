"""How much a post source is asked at once: less when it says that it is too much, then slowly more.

Additive increase, multiplicative decrease, as TCP shares a line (Chiu and Jain, 1989). A refusal
halves requests at once, ids in a request and requests in a second; each answer lets a little more
go out. So a worker settles near what the source allows, and several workers share it, although
none knows the limit nor of the others.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE_SECONDS = 5.0
"""For so long the posts of one fetch wait for their turns; then they come later, untried."""

SLOWEST_PER_SECOND = 0.1
"""Requests: a pause between two longer than 10 seconds is the source's to ask for."""

STEP_PER_SECOND = 0.125
"""Each answer adds so many requests in a second: in full use, twice as many after 6 seconds."""

_RECENT_SECONDS = 2.0
"""How fast a source was asked when it refused is told from so much time before."""

_FREE_AFTER = 64
"""Requests in a row that did not have to wait for their turns: the limit limits nothing."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
"""After refusals without an answer in between, where the source asks for no longer pause."""


class NotNowError(Exception):
    """The source is not to be asked for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not to be asked for {seconds:.1f} seconds")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may be asked now: requests at once and per second, and ids in each.

    Attributes:
        per_second: None without a limit.
        paused_seconds: for so long it is not asked at all.
        pauses: that it asked for, since the start.
        slowed: whether any of the limits is lower than it could be.
    """

    at_once: int
    ids: int
    per_second: float | None
    paused_seconds: float
    pauses: int
    slowed: bool


def _jitter() -> float:
    return random.uniform(0.5, 1.5)  # noqa: S311 - no secret


class Throttle:
    """What one process asks of its source. Safe to use from several threads.

    Args:
        at_once: requests, at most.
        ids: in one request, at most.
        jitter: gives a factor for each pause whose length the source left to us, so that workers
            do not come back all at once.
    """

    def __init__(
        self,
        at_once: int = 8,
        ids: int = 64,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self._most_at_once = at_once
        self._most_ids = ids
        self._clock = clock
        self._jitter = jitter
        self._changed = threading.Condition()
        self._at_once = float(at_once)
        self._per_second: float | None = None
        self._under_way = 0
        self._next_at = 0.0
        self._begun: deque[float] = deque()
        self._unhindered = 0
        self._slowed_at = float("-inf")
        self._paused_until = float("-inf")
        self._pauses = 0
        self._refused_in_a_row = 0
        self._closed = False

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def limits(self) -> Limits:
        """What may be asked now."""
        with self._changed:
            return Limits(
                at_once=int(self._at_once),
                ids=self._ids(),
                per_second=self._per_second,
                paused_seconds=max(0.0, self._paused_until - self._clock()),
                pauses=self._pauses,
                slowed=self._per_second is not None or self._at_once < self._most_at_once,
            )

    def posts_in(self, seconds: float) -> float:
        """How many posts may be asked for in that time; infinite without a limit."""
        with self._changed:
            if self._per_second is None:
                return float("inf")
            return self._per_second * seconds * self._ids()

    @contextmanager
    def turn(self, give_up_at: float) -> Iterator[Turn]:
        """Wait until one request may be sent; inside, send it and say what came of it.

        Args:
            give_up_at: by this throttle's clock; not to be waited beyond.

        Raises:
            NotNowError: the source is in a pause, or it would be too late.
        """
        began_at = self._begin(give_up_at)
        try:
            yield Turn(self, began_at)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify()

    def patience(self) -> float:
        """Until when a fetch that begins now waits for its turns."""
        return self._clock() + PATIENCE_SECONDS

    def _begin(self, give_up_at: float) -> float:
        hindered = False
        with self._changed:
            while True:
                now = self._clock()
                if now < self._paused_until:
                    raise NotNowError(self._paused_until - now)
                wait_seconds = max(0.0, self._next_at - now) if self._per_second else 0.0
                if wait_seconds <= 0.0 and self._under_way < int(self._at_once):
                    self._note(now, hindered=hindered)
                    return now
                hindered = True
                left_seconds = give_up_at - now
                if self._closed or left_seconds <= 0.0 or wait_seconds > left_seconds:
                    raise NotNowError(wait_seconds or _FIRST_PAUSE_SECONDS)
                self._changed.wait(wait_seconds or left_seconds)

    def _note(self, now: float, *, hindered: bool) -> None:
        self._under_way += 1
        self._begun.append(now)
        while self._begun[0] < now - _RECENT_SECONDS:
            self._begun.popleft()
        if self._per_second is not None:
            self._next_at = max(self._next_at, now) + 1.0 / self._per_second
            self._unhindered = 0 if hindered else self._unhindered + 1

    def answered(self) -> None:
        """A request was answered."""
        with self._changed:
            self._refused_in_a_row = 0
            at_once = self._at_once + 1.0 / self._at_once
            self._at_once = min(float(self._most_at_once), at_once)
            if self._per_second is not None:
                self._per_second += STEP_PER_SECOND
                if self._unhindered >= _FREE_AFTER and self._at_once >= self._most_at_once:
                    self._per_second = None
            self._changed.notify()

    def refused(self, began_at: float, asked_seconds: float | None) -> float:
        """A request was refused because there were too many, or because the source rests.

        Args:
            began_at: when it was sent. What was under way when another was refused slows nothing
                down a second time.
            asked_seconds: how long the source wants to be left alone, if it says so.

        Returns:
            Seconds until it may be asked again.
        """
        with self._changed:
            now = self._clock()
            pause_seconds = asked_seconds or 0.0
            if began_at > self._slowed_at:
                own_seconds = _FIRST_PAUSE_SECONDS * 2.0 ** min(self._refused_in_a_row, 30)
                if own_seconds > pause_seconds:
                    own_seconds = min(own_seconds, _LONGEST_PAUSE_SECONDS) * self._jitter()
                    pause_seconds = max(pause_seconds, own_seconds)
                self._slow_down(now)
            self._paused_until = max(self._paused_until, now + pause_seconds)
            self._changed.notify_all()
            return self._paused_until - now

    def _slow_down(self, now: float) -> None:
        since = max(now - _RECENT_SECONDS, self._paused_until)
        asked = sum(begun >= since for begun in self._begun)
        used = asked / max(1.0, min(_RECENT_SECONDS, now - since))
        before = used if self._per_second is None else min(used, self._per_second)
        self._per_second = max(SLOWEST_PER_SECOND, before / 2.0)
        self._at_once = max(1.0, self._at_once / 2.0)
        self._next_at = now
        self._unhindered = 0
        self._slowed_at = now
        self._pauses += 1
        self._refused_in_a_row += 1

    def _ids(self) -> int:
        return max(1, round(self._most_ids * self._at_once / self._most_at_once))


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that may be sent, and what came of it; see `Throttle`."""

    throttle: Throttle
    began_at: float

    def answered(self) -> None:
        """The source answered."""
        self.throttle.answered()

    def refused(self, asked_seconds: float | None) -> float:
        """The source refused; gives the seconds until it may be asked again."""
        return self.throttle.refused(self.began_at, asked_seconds)
