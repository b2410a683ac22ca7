"""How long the posts at the front have waited, although their bare ids carry no time.

Every id that ever came into a list either waits in it or was taken from it, so

    arrived(t) = length + taken so far

and the id that waits at the front is number `taken + 1`. It came when `arrived` first went beyond
`taken`, which samples of `arrived`, about one a second, tell. They are kept in Redis (the list
`arrivals`), written by whoever looks: each worker, the autoscaler, `deadpan status`; so they
outlive all of these. Far back they are thinned out to 2 % of their age. See docs/autoscaling.md.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deadpan.core.errors import QueueStateError
from tasks.intake.intake import Intake, milliseconds
from tasks.intake.keys import PRIORITIES, Priority

SAMPLE_SECONDS = 1.0
"""How often a sampler looks."""

APART_SECONDS = 0.5
"""Samples are at least so far apart, however many look."""

PAUSE_SECONDS = 2.5
"""Between samples further apart (and by more than thinning out explains) nobody looked."""

THINNED = 0.05
"""Gaps of at most this part of their age may come from thinning out."""

WINDOWS_SECONDS = (3.0, 10.0, 30.0, 60.0)
"""Stretches of time over which arrivals are counted."""

SCALING_SECONDS = 60
"""For how long the word of an autoscaler that ended is still there for the one after it."""

STALE_SECONDS = 15.0
"""A number of workers that is older than this is not served any more."""

RATE_SECONDS = 300.0
"""How far back the pace of workers is measured."""

_LEAST_BUSY_SECONDS = 10.0
_PROFILE_STEP = 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """What had arrived and was taken by a time."""

    at: float  # server time in seconds
    arrived: tuple[int, ...]  # ids ever, by priority in the order of PRIORITIES
    taken: tuple[int, ...]
    unfinished: int  # posts in chunks, and posts that wait to be tried again
    ready: int  # workers

    @property
    def waiting(self) -> int:
        """Ids in the lists."""
        return sum(self.arrived) - sum(self.taken)

    @property
    def done(self) -> int:
        """Posts that have an outcome."""
        return sum(self.taken) - self.unfinished


@dataclass(frozen=True, slots=True)
class Waiting:
    """Posts of one priority that wait in the intake.

    `profile` has pairs of an age and how many posts are at least so old, the oldest first; an age
    is never too low, and a few dozen pairs stand for all.
    """

    posts: int = 0
    oldest_age_seconds: float = 0.0  # 0 when none waits
    profile: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """What scaling goes by.

    Attributes:
        arrivals: pairs of seconds and of posts of high and normal priority that came in them,
            for several stretches of time up to now, the shortest first.
        worker_posts_per_second: outcomes a second of one worker while posts waited, or None where
            none waited long enough to tell.
        stalled_seconds: for how long workers were ready, posts waited and none had an outcome.
        idle_seconds: for how long nothing has come, waited or been in hand.
    """

    waiting: Mapping[Priority, Waiting]
    in_hand: int = 0  # posts in chunks
    retries: int = 0  # posts that wait to be tried again
    arrivals: tuple[tuple[float, int], ...] = ()
    posts_per_second: float = 0.0  # outcomes, over the last minute
    arrivals_per_second: float = 0.0  # of all priorities, over the last minute
    ready: int = 0  # workers
    worker_posts_per_second: float | None = None
    stalled_seconds: float = 0.0
    idle_seconds: float = 0.0

    @property
    def oldest_age_seconds(self) -> float:
        """Of the post that has waited longest, of any priority."""
        return max((waiting.oldest_age_seconds for waiting in self.waiting.values()), default=0.0)

    @property
    def unfinished(self) -> int:
        """Posts that have no outcome yet."""
        return sum(w.posts for w in self.waiting.values()) + self.in_hand + self.retries

    @property
    def drain_seconds(self) -> float | None:
        """Until nothing waits if all goes on as in the last minute; None when it never would."""
        waiting = sum(w.posts for w in self.waiting.values())
        gained = self.posts_per_second - self.arrivals_per_second
        if waiting == 0:
            return 0.0
        return waiting / gained if gained > 0 else None


def read_signal(intake: Intake, *, ready: int | None = None) -> Signal:
    """Note a sample and say what all samples tell.

    Args:
        ready: workers that are ready, if the caller knows.
    """
    ready = _ready_workers(intake) if ready is None else ready
    now, lengths, taken, in_hand, retries, lines = _take_sample(intake, ready=ready, read=True)
    samples = [_sample(line, intake) for line in lines]
    at = int(now) / 1000
    arrived = tuple(n + t for n, t in zip(lengths, taken, strict=True))
    current = Sample(at, arrived, tuple(taken), int(in_hand) + int(retries), ready)
    return signal_of(samples, current, in_hand=int(in_hand), retries=int(retries))


def note_sample(intake: Intake, *, ready: int | None = None) -> None:
    """Note a sample, unless somebody just did."""
    _take_sample(intake, ready=_ready_workers(intake) if ready is None else ready, read=False)


def publish_scaling(intake: Intake, told: Mapping[str, Any]) -> None:
    """Leave word of what the autoscaler wants, for SCALING_SECONDS."""
    intake.put("scaling", json.dumps(told), seconds=SCALING_SECONDS)


def read_scaling(intake: Intake, *, fresh: bool = False) -> dict[str, Any] | None:
    """What an autoscaler wanted last, with `desired` and `why`; None when none runs.

    Args:
        fresh: whether a word older than STALE_SECONDS counts for none, by the server's clock.
    """
    raw = intake.get("scaling")
    if raw is None:
        return None
    if fresh and SCALING_SECONDS - intake.seconds_left("scaling") > STALE_SECONDS:
        return None
    try:
        told: dict[str, Any] = json.loads(raw)
        told["desired"], told["why"]
    except (ValueError, KeyError, TypeError):
        raise QueueStateError(
            f"Redis key {intake.key('scaling')} holds {raw[:80]!r}, which Deadpan did not write; "
            "delete the key"
        ) from None
    return told


def signal_of(
    samples: Sequence[Sample], current: Sample, *, in_hand: int = 0, retries: int = 0
) -> Signal:
    """What is waiting and arriving, and for how long; `samples` has the oldest first."""
    waiting = {
        priority: _waiting(samples, current, place) for place, priority in enumerate(PRIORITIES)
    }
    arrivals = tuple(
        (current.at - before.at, _came(before, current, (0, 1)))
        for before in _before(samples, current, WINDOWS_SECONDS)
    )
    minute = next(iter(_before(samples, current, (60.0,))), None)
    seconds = current.at - minute.at if minute else 0.0
    return Signal(
        waiting=waiting,
        in_hand=in_hand,
        retries=retries,
        arrivals=arrivals,
        posts_per_second=max(0.0, (current.done - minute.done) / seconds) if minute else 0.0,
        arrivals_per_second=_came(minute, current, (0, 1, 2)) / seconds if minute else 0.0,
        ready=current.ready,
        worker_posts_per_second=_worker_rate(samples, current),
        stalled_seconds=_stalled_seconds(samples, current),
        idle_seconds=_idle_seconds(samples, current),
    )


def _ready_workers(intake: Intake) -> int:
    return sum(bool(worker["ready"]) for worker in intake.status()["workers"])


def _take_sample(intake: Intake, *, ready: int, read: bool) -> list[Any]:
    """Note what has arrived by now, unless somebody just did; the reply may hold all samples."""
    keys = map(intake.key, ("taken", "arrivals", "chunks", "retries"))
    reply: list[Any] = intake.run(
        "sample",
        [*map(intake.list_key, PRIORITIES), *keys],
        [intake.key("chunk:"), milliseconds(APART_SECONDS), ready, int(read)],
    )
    return reply


def _sample(line: bytes, intake: Intake) -> Sample:
    try:
        at, *numbers, unfinished, ready = map(int, line.split())
        high, normal, low, *taken = numbers
        if len(taken) != 3:
            raise ValueError(line)
    except ValueError:
        raise QueueStateError(
            f"Redis key {intake.key('arrivals')} holds {line[:80]!r}, which Deadpan did not write; "
            "delete the key"
        ) from None
    return Sample(at / 1000, (high, normal, low), tuple(taken), unfinished, ready)


def _waiting(samples: Sequence[Sample], current: Sample, place: int) -> Waiting:
    taken = current.taken[place]
    posts = current.arrived[place] - taken
    if posts <= 0:
        return Waiting()
    profile: list[tuple[float, int]] = []
    oldest = 0.0
    before: Sample | None = None
    for sample in (*samples, current):
        # an id deleted since the last sample was written is no arrival either
        arrived = min(sample.arrived[place], current.arrived[place])
        if arrived > taken:
            # Nobody knows when in the gap an id came: the earliest moment is never too young.
            since = sample.at if before is None else before.at
            known = taken if before is None else min(before.arrived[place], arrived)
            if not profile:
                oldest = _age_within(before, sample, known, arrived, taken, current.at)
            age = max(0.0, current.at - since) if profile else oldest
            if profile and age > _PROFILE_STEP * profile[-1][0]:
                profile[-1] = (profile[-1][0], arrived - taken)
            elif not profile or arrived - taken > profile[-1][1]:
                profile.append((age, arrived - taken))
        before = sample
    return Waiting(posts, oldest, tuple(profile))


def _age_within(
    before: Sample | None, sample: Sample, known: int, arrived: int, taken: int, now: float
) -> float:
    """Age of id number `taken + 1`, which came between two samples."""
    if before is None:
        # It was there when the first sample was taken: at least so old.
        return max(0.0, now - sample.at)
    gap = sample.at - before.at
    if gap > max(PAUSE_SECONDS, THINNED * (now - before.at)):
        return max(0.0, now - before.at)
    part = (taken - known + 0.5) / max(1, arrived - known)
    return max(0.0, now - (before.at + gap * min(1.0, max(0.0, part))))


def _before(
    samples: Sequence[Sample], current: Sample, windows_seconds: Sequence[float]
) -> list[Sample]:
    """For each window the youngest sample before it; for the first that has none the oldest."""
    found: list[Sample] = []
    for seconds in windows_seconds:
        if not samples:
            break
        place = bisect_right(samples, current.at - seconds, key=lambda sample: sample.at)
        sample = samples[max(0, place - 1)]
        if current.at - sample.at < 1.0 or sample in found:
            break
        found.append(sample)
    return found


def _came(before: Sample, current: Sample, places: Sequence[int]) -> int:
    return sum(max(0, current.arrived[place] - before.arrived[place]) for place in places)


def _worker_rate(samples: Sequence[Sample], current: Sample) -> float | None:
    """Outcomes a second of one ready worker, over stretches in which posts waited throughout."""
    done = seconds = worker_seconds = 0.0
    newer = current
    for sample in reversed(samples):
        if sample.at < current.at - RATE_SECONDS:
            break
        if sample.waiting > 0 and newer.waiting > 0 and 0 < sample.ready == newer.ready:
            done += newer.done - sample.done
            seconds += newer.at - sample.at
            worker_seconds += (newer.at - sample.at) * sample.ready
        newer = sample
    # Outcomes come a chunk at a time: a short stretch says little.
    return max(0.0, done) / worker_seconds if seconds >= _LEAST_BUSY_SECONDS else None


def _stalled_seconds(samples: Sequence[Sample], current: Sample) -> float:
    since = current.at
    for sample in reversed(samples):
        if sample.done != current.done or not sample.ready or not sample.waiting:
            break
        since = sample.at
    return current.at - since if current.ready and current.waiting else 0.0


def _idle_seconds(samples: Sequence[Sample], current: Sample) -> float:
    if current.waiting or current.unfinished:
        return 0.0
    since = current.at
    for sample in reversed(samples):
        if sample.waiting or sample.unfinished or sample.arrived != current.arrived:
            break
        since = sample.at
    return current.at - since
