"""The simulated fleet: posts that wait, workers that start, serve and go.

Events are the arrivals of each second (posts that came in the same second travel together),
workers that become ready, and decisions of a policy. Between events a ready worker takes posts in
hand at a constant pace, the oldest first, with a sixteenth kept for low priority, as
`tasks/intake/scripts/dispatch.lua` does. What is measured is queue latency: from the push until a
worker takes the post in hand.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.autoscaling.shapes import Shape
from tasks.intake.arrivals import Sample, Signal, signal_of
from worker.fleet.scaling import LOW_SHARE

THINNED = 0.02
LEFT_SECONDS = 60
"""What waits for longer at the end was left behind."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one worker is like, as measured (docs/performance.md).

    Attributes:
        pace: posts a second.
        start_seconds: from its start until it is ready.
        ceiling: most workers that there can be.
    """

    pace: float = 213.0
    start_seconds: float = 12.1
    ceiling: int = 40


@dataclass(slots=True)
class Fleet:
    """State that policies look at.

    Attributes:
        ready: workers that serve.
        starting: when each other worker will be ready.
        busy: part of the ready workers' time that was used, in each of the last seconds.
    """

    machine: Machine
    now: int = 0
    ready: int = 0
    starting: list[float] = field(default_factory=list)
    live: deque[list[float]] = field(default_factory=deque)
    low: deque[list[float]] = field(default_factory=deque)
    waiting_live: float = 0.0
    waiting_low: float = 0.0
    arrived: list[int] = field(default_factory=lambda: [0, 0, 0])
    busy: deque[float] = field(default_factory=lambda: deque(maxlen=30))
    samples: list[Sample] = field(default_factory=list)

    @property
    def workers(self) -> int:
        """Ready and starting; each costs."""
        return self.ready + len(self.starting)

    def signal(self) -> Signal:
        """What `deadpan autoscale` would see."""
        return signal_of(self.samples, self._sample())

    def note(self) -> None:
        """Keep a sample, thinned out as in Redis (there at leisure, here when there are many)."""
        self.samples.append(self._sample())
        if len(self.samples) > 400:
            self._thin()

    def _sample(self) -> Sample:
        taken = (
            0,
            self.arrived[1] - int(self.waiting_live),
            self.arrived[2] - int(self.waiting_low),
        )
        return Sample(float(self.now), tuple(self.arrived), taken, 0, self.ready)

    def _thin(self) -> None:
        newest = self.samples[-1]
        all_taken = [
            i
            for i, s in enumerate(self.samples)
            if s.at < self.now - 320
            and all(a <= t for a, t in zip(s.arrived, newest.taken, strict=True))
        ]
        samples = self.samples[all_taken[-1] if all_taken else 0 :]
        kept = [newest]
        for place in range(len(samples) - 2, 0, -1):
            older = samples[place - 1]
            if kept[-1].at - older.at > THINNED * 2 * (self.now - older.at):
                kept.append(samples[place])
        kept.append(samples[0])
        self.samples = kept[::-1]


@dataclass(slots=True)
class Result:
    """What became of a shape under a policy.

    Attributes:
        latency, low_latency: posts by whole seconds of queue latency.
        worker_seconds: starting workers count as well.
        scalings: changes of the wanted number.
        left: posts that still wait at the end, and not since just now.
        track: (second, workers, posts waiting, age of the oldest) every few seconds.
    """

    latency: Counter[int] = field(default_factory=Counter)
    low_latency: Counter[int] = field(default_factory=Counter)
    worker_seconds: float = 0.0
    scalings: int = 0
    left: int = 0
    track: list[tuple[int, int, int, float]] = field(default_factory=list)


def percentile(counts: Counter[int], part: float) -> float:
    """The latency that this part of the posts does not exceed; 0 where there are none."""
    total = sum(counts.values())
    seen = 0
    for seconds in sorted(counts):
        seen += counts[seconds]
        if seen >= part * total:
            return float(seconds)
    return 0.0


def simulate(
    shape: Shape,
    machine: Machine,
    want: Callable[[Fleet], int],
    *,
    every_seconds: int,
    begin_with: int,
    track_every: int = 30,
) -> Result:
    """Play a shape through.

    Args:
        want: the policy, asked every so many seconds; its number is applied at once.
        begin_with: workers that are ready at the beginning.
    """
    fleet = Fleet(machine, ready=begin_with)
    result = Result()
    desired = begin_with
    for second in range(shape.seconds):
        fleet.now = second
        _arrive(fleet, shape, second)
        while fleet.starting and fleet.starting[0] <= second:
            fleet.starting.pop(0)
            fleet.ready += 1
        if second % every_seconds == 0:
            wanted = min(max(want(fleet), shape.floor), machine.ceiling)
            result.scalings += wanted != desired
            desired = wanted
            _apply(fleet, desired)
        away = shape.away is not None and shape.away[0] <= second < shape.away[1]
        _serve(fleet, result, away=away)
        fleet.now = second + 1
        fleet.note()
        result.worker_seconds += fleet.workers
        if second % track_every == 0:
            age = second - fleet.live[0][0] if fleet.live else 0.0
            waiting = int(fleet.waiting_live + fleet.waiting_low)
            result.track.append((second, fleet.workers, waiting, age))
    for queue, counts in ((fleet.live, result.latency), (fleet.low, result.low_latency)):
        for came, posts in queue:
            # as if served now: it is at least so late
            counts[int(shape.seconds - came)] += round(posts)
            if shape.seconds - came > LEFT_SECONDS:
                result.left += round(posts)
    return result


def _arrive(fleet: Fleet, shape: Shape, second: int) -> None:
    if posts := shape.live[second]:
        fleet.live.append([float(second), float(posts)])
        fleet.waiting_live += posts
        fleet.arrived[1] += posts
    if shape.low and (posts := shape.low[second]):
        fleet.low.append([float(second), float(posts)])
        fleet.waiting_low += posts
        fleet.arrived[2] += posts


def _apply(fleet: Fleet, desired: int) -> None:
    while fleet.workers < desired:
        fleet.starting.append(fleet.now + fleet.machine.start_seconds)
    while fleet.workers > desired:
        # a worker that is not ready yet is the first to go
        if fleet.starting:
            fleet.starting.pop()
        else:
            fleet.ready -= 1


def _serve(fleet: Fleet, result: Result, *, away: bool) -> None:
    capacity = 0.0 if away else fleet.ready * fleet.machine.pace
    low = min(fleet.waiting_low, capacity * LOW_SHARE)
    live = min(fleet.waiting_live, capacity - low)
    low = min(fleet.waiting_low, capacity - live)
    fleet.waiting_live -= _take(fleet.live, live, fleet.now, result.latency)
    fleet.waiting_low -= _take(fleet.low, low, fleet.now, result.low_latency)
    used = live + low
    fleet.busy.append(1.0 if away and fleet.ready else (used / capacity if capacity else 0.0))


def _take(queue: deque[list[float]], posts: float, now: int, counts: Counter[int]) -> float:
    left = posts
    while queue and left > 0:
        cohort = queue[0]
        part = min(left, cohort[1])
        counts[int(now - cohort[0])] += round(part)
        cohort[1] -= part
        left -= part
        if cohort[1] <= 1e-6:
            queue.popleft()
    return posts - left
