"""A backfill: millions of post ids onto the intake, at a pace, whoever is killed meanwhile.

How far it has come is kept in Redis, beside the ids, and moves in the same step as they are pushed
(tasks/intake/scripts/push.lua). So it can never say of an id that it was pushed when it was not,
even if Redis comes back from its disk without what came last. See docs/decisions/0013.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from deadpan.core.errors import ConfigurationError, DataError, QueueStateError, QueueUnavailable
from sources.ids import LONGEST_LINE_BYTES, IdSource
from tasks.intake.intake import Intake
from tasks.intake.keys import PRIORITIES, Priority
from tasks.intake.post_ids import id_problem, printable
from tasks.intake.rate import Rate

AT_ONCE = 1000
"""Most ids in one step."""

STEP_SECONDS = 0.5
"""With a rate, a step has the ids of so long; and while it waits it looks as often."""

RESTING_SECONDS = 5.0
"""A source that is not read for so long may let go of what it holds."""

_PUSHED, _TOO_DEEP = 1, 0


class _Skipped(BaseModel):
    """Lines that are not pushed, by what is the matter with them."""

    empty: int = 0
    unfit: int = 0
    repeated: int = 0


class _Come(BaseModel):
    """How far a backfill has come, as Redis keeps it; some of it only for `deadpan status`."""

    kind: str = ""
    place: dict[str, Any] = {}
    pushed: int = 0
    skipped: _Skipped = _Skipped()
    priority: str
    at: float
    # A version before this one did not write the next three.
    fraction: float | None = None
    per_second: float | None = None
    left_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill has come."""

    pushed: int  # post ids, by this run
    before: int  # post ids, by the runs before it
    skipped: dict[str, int]  # lines, by all runs
    fraction: float | None  # 0 to 1; None when nobody knows how much there is
    seconds: float  # that this run took
    left_seconds: float | None  # that it takes on, if all goes on as since its start
    waiting: int  # ids in the intake, of all priorities
    pause: str | None = None  # why nothing is pushed at the moment


@dataclass(frozen=True, slots=True)
class Underway:
    """A backfill that is not through, as its place in Redis tells: it may push, wait or be
    interrupted, which nobody but its own process knows."""

    name: str
    priority: str
    pushed: int
    skipped: dict[str, int]
    fraction: float | None
    per_second: float | None  # ids a second in its last run, waits included; None at its first step
    left_seconds: float | None  # as it was reckoned at the last push
    pushed_seconds_ago: float  # by the clocks of that machine and of this one


def underway(intake: Intake) -> list[Underway]:
    """Backfills that are not through, the one that pushed last first.

    Raises:
        QueueUnavailable: Redis cannot be reached.
        QueueStateError: the key holds what Deadpan did not write.
    """
    with intake.answering():
        kept = cast("dict[bytes, bytes]", intake.client.hgetall(intake.key("backfills")))
    found = []
    for name, raw in kept.items():
        come = _read(intake, name.decode(errors="replace"), raw, "delete that field (HDEL)")
        told = come.model_dump(exclude={"kind", "place", "at"})
        seconds_ago = max(0.0, time.time() - come.at)
        found.append(
            Underway(**told, name=name.decode(errors="replace"), pushed_seconds_ago=seconds_ago)
        )
    return sorted(found, key=lambda each: each.pushed_seconds_ago)


def _read(intake: Intake, name: str, raw: bytes, remedy: str) -> _Come:
    try:
        return _Come.model_validate_json(raw)
    except ValidationError:
        raise QueueStateError(
            f"Redis key {intake.key('backfills')} holds {printable(raw)} for {name!r}, which "
            f"Deadpan did not write; {remedy}"
        ) from None


class Backfill:
    """Pushes what a source gives. `run` once; it closes the source.

    Args:
        name: what its place is kept under; empty keeps none, and then it cannot go on.
        per_second: at most so many ids a second; None is no limit.
        max_waiting: pushes nothing while more ids than this would wait, of all priorities; 0 is no
            limit.
        told: is given progress, several times a second.
        skipped: is given the number of a line that is not pushed, and why.
    """

    def __init__(
        self,
        intake: Intake,
        source: IdSource,
        *,
        name: str,
        priority: Priority,
        per_second: float | None = None,
        max_waiting: int = 0,
        told: Callable[[Progress], None] = lambda progress: None,
        skipped: Callable[[int, str], None] = lambda number, why: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._intake = intake
        self._source = source
        self._name = name
        self._priority: Priority = priority
        self._rate = Rate(per_second)
        self._max_waiting = max_waiting
        self._told = told
        self._on_skipped = skipped
        self._pause = pause
        self._at_once = AT_ONCE
        if per_second is not None:
            self._at_once = min(self._at_once, max(1, int(per_second * STEP_SECONDS)))
        if max_waiting:
            # Small enough that it finds room beside what else waits.
            self._at_once = min(self._at_once, max(1, max_waiting // 10))
        self._pushed = 0
        self._skipped = _Skipped()
        self._kept = ""
        self._before = 0
        self._waiting = 0
        self._began = 0.0
        self._fraction_before = 0.0

    def forget(self) -> None:
        """Begin from the start of the source at the next run.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        with self._intake.answering():
            self._intake.client.hdel(self._intake.key("backfills"), self._name)

    def run(self) -> Progress:
        """Push everything from where the run before ended.

        Raises:
            QueueUnavailable: Redis cannot be reached at the start; later it is waited for.
            QueueStateError: another run moved it on, or Redis came back with older data; running
                again goes on from there.
            ConfigurationError: the name is another backfill's.
            DataError, SourceError: of the source.
        """
        try:
            self._source.start(self._place())
            self._began = time.monotonic()
            self._fraction_before = self._source.fraction or 0.0
            self._before = self._pushed
            self._push_all()
            return self.progress()
        finally:
            self._source.close()

    def _push_all(self) -> None:
        batch: list[bytes] = []
        last = self._source.last
        try:
            for number, raw in self._source:
                if problem := self._problem(number, raw, last):
                    self._on_skipped(number, problem)
                else:
                    batch.append(raw)
                last = raw
                if len(batch) >= self._at_once:
                    self._push(batch)
                    batch = []
        except DataError:
            self._push(batch)
            raise
        self._push(batch)
        self._step([], "")

    def progress(self, *, pause: str | None = None) -> Progress:
        """How far it has come."""
        seconds = time.monotonic() - self._began if self._began else 0.0
        fraction = self._source.fraction
        left = None
        if fraction is not None and fraction > self._fraction_before:
            done = fraction - self._fraction_before
            left = seconds * (1.0 - fraction) / done
        return Progress(
            pushed=self._pushed - self._before,
            before=self._before,
            skipped=self._skipped.model_dump(),
            fraction=fraction,
            seconds=seconds,
            left_seconds=left,
            waiting=self._waiting,
            pause=pause,
        )

    def _place(self) -> dict[str, Any] | None:
        """Where to go on."""
        with self._intake.answering():
            if not self._name:
                self._intake.client.ping()
                return None
            key = self._intake.key("backfills")
            raw = cast("bytes | None", self._intake.client.hget(key, self._name))
        if raw is None:
            return None
        come = _read(self._intake, self._name, raw, "start again with --restart")
        if come.kind != self._source.kind:
            raise ConfigurationError(
                f"{self._name!r} is the name of a backfill from something else that has not "
                "finished; give another --name, or --restart to forget that one"
            )
        self._kept = raw.decode()
        self._pushed, self._skipped = come.pushed, come.skipped
        return come.place

    def _problem(self, number: int, raw: bytes, last: bytes | None) -> str | None:
        if not raw.strip():
            self._skipped.empty += 1
            return "it is empty"
        if raw == last:
            self._skipped.repeated += 1
            return f"it repeats {self._source.unit} {number - 1}: {printable(raw)}"
        problem = id_problem(raw)
        if problem:
            self._skipped.unfit += 1
            if len(raw) >= LONGEST_LINE_BYTES:
                return f"it is longer than {LONGEST_LINE_BYTES - 1} bytes"
        return problem

    def _push(self, batch: list[bytes]) -> None:
        if not batch:
            return
        while (seconds := self._rate.wait_seconds()) > 0:
            if seconds > RESTING_SECONDS:
                self._source.rest()
            self._wait(min(seconds, STEP_SECONDS))
        now = self._come(len(batch)).model_dump_json()
        self._step(batch, now)
        self._pushed += len(batch)
        self._rate.went(len(batch))
        self._told(self.progress())

    def _come(self, more: int) -> _Come:
        how = self.progress()
        seconds, left, fraction = how.seconds, how.left_seconds, how.fraction
        return _Come(
            kind=self._source.kind,
            place=self._source.place,
            pushed=self._pushed + more,
            skipped=self._skipped,
            priority=self._priority,
            at=round(time.time()),
            fraction=None if fraction is None else round(fraction, 4),
            per_second=round((how.pushed + more) / seconds, 1) if seconds > 0 else None,
            left_seconds=None if left is None else round(left),
        )

    def _step(self, ids: list[bytes], now: str) -> None:
        """Push ids and move the place, once Redis is there and has room."""
        keys = [*map(self._intake.list_key, PRIORITIES), self._intake.key("backfills")]
        which = PRIORITIES.index(self._priority) + 1
        args = [which, self._max_waiting, self._name, self._kept, now, *ids]
        is_unsure = False
        began = time.monotonic()
        while True:
            try:
                what, self._waiting, kept = self._intake.run("push", keys, args)
            except QueueUnavailable as error:
                # Whether it came to pass nobody knows: the next try finds it out.
                is_unsure = True
                why = str(error)
            else:
                if what == _PUSHED or (what != _TOO_DEEP and is_unsure and kept.decode() == now):
                    self._kept = now
                    return
                if what != _TOO_DEEP:
                    raise QueueStateError(
                        f"backfill {self._name!r} is not where this run left it: another run moved "
                        "it on, or Redis came back with older data; run the same command again, "
                        "once at a time, to go on from there"
                    )
                why = f"{self._waiting:,} post ids wait; the limit is {self._max_waiting:,}"
            if time.monotonic() - began > RESTING_SECONDS:
                self._source.rest()
            self._wait(STEP_SECONDS, why)

    def _wait(self, seconds: float, why: str | None = None) -> None:
        self._told(self.progress(pause=why))
        self._pause(seconds)
