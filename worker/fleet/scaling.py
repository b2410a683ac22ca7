"""How many workers are wanted: one pure function of the signal, the goals and its own last state.

Capacity is wanted for whichever is more: what comes in now, or what has to be taken in hand for
every waiting post to be in time. The second is read off the profile of ages: posts that are at
least `age` old, divided by the time that is left to them, at its largest. Docs and measurements:
docs/autoscaling.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deadpan.core.errors import ConfigurationError
from tasks.intake.arrivals import Signal, Waiting

AIM = 0.7
"""Posts are to be taken in hand after at most this part of the goal."""

SURE = 2.0
"""Standard deviations of a count by which arrivals must exceed chance to call for a worker."""

PATIENCE = 0.4
"""While posts would wait no longer than this part of the goal when a worker started now is ready,
none is started for what comes: a load that wanders about the edge of a whole worker comes back."""

MARGIN = 0.03
"""A worker is dropped only if the others would still have so much capacity to spare."""

LOW_SHARE = 1 / 16
"""Of a chunk, kept for low priority (tasks/intake/scripts/dispatch.lua)."""

KEPT_STARTS, KEPT_SECONDS = 4.0, 36.0
"""A worker that is not needed is kept for as long as so many starts take, and no longer than one
start and so many seconds. Dropping it and starting it again costs one start of a machine's time,
and of latency."""

SHORTEST_SECONDS = 5.0
"""No stretch of time shorter than this tells a rate."""

STALLED_SECONDS = 15.0
"""Posts wait, workers are ready and nothing was done for so long: the source or the database is
away, and more workers would wait as well."""

PLAUSIBLE = 50.0
"""A measured pace is believed if it is within this factor of the configured one."""


@dataclass(frozen=True, slots=True)
class Goals:
    """What an operator wants.

    Attributes:
        latency_seconds: posts of high and normal priority are taken in hand within it.
        low_latency_seconds: the same for low priority.
        floor, ceiling: never fewer, never more workers.
        worker_posts_per_second: of one worker, until its pace was measured.
        start_seconds: from the start of a worker until it is ready.
        idle_seconds: with a floor of 0, the last worker goes after so long without a post.
    """

    latency_seconds: float = 30.0
    low_latency_seconds: float = 6 * 3600.0
    floor: int = 1
    ceiling: int = 1
    worker_posts_per_second: float = 200.0
    start_seconds: float = 15.0
    idle_seconds: float = 300.0

    def __post_init__(self) -> None:
        problems = []
        if self.floor > self.ceiling:
            problems.append(
                f"DEADPAN_WORKERS_MIN is {self.floor}, above DEADPAN_WORKERS_MAX, "
                f"which is {self.ceiling}; lower it"
            )
        if self.floor < 0 or self.ceiling < 1:
            problems.append(
                f"workers are to be {self.floor} to {self.ceiling}; "
                "DEADPAN_WORKERS_MIN is at least 0, DEADPAN_WORKERS_MAX at least 1"
            )
        if self.low_latency_seconds < self.latency_seconds:
            problems.append(
                f"DEADPAN_LOW_LATENCY_GOAL_SECONDS is {self.low_latency_seconds:g}, below "
                f"DEADPAN_LATENCY_GOAL_SECONDS, which is {self.latency_seconds:g}; raise it"
            )
        if problems:
            raise ConfigurationError(problems)

    @property
    def keep_seconds(self) -> float:
        """How long a worker that is not needed is kept."""
        return min(KEPT_STARTS * self.start_seconds, self.start_seconds + KEPT_SECONDS)


@dataclass(frozen=True, slots=True)
class State:
    """What the function remembers between calls.

    Attributes:
        desired: workers wanted last, or None at the first call.
        recent: (time in seconds, workers that would have sufficed); as times rise, numbers fall.
    """

    desired: int | None = None
    recent: tuple[tuple[float, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For a process that goes on where this one ends."""
        return {"desired": self.desired, "recent": [list(pair) for pair in self.recent]}

    @classmethod
    def from_json(cls, told: Any) -> State:
        """What `to_json` gave; anything else is no state."""
        try:
            desired = None if told["desired"] is None else int(told["desired"])
            return cls(desired, tuple((float(at), int(n)) for at, n in told["recent"]))
        except (TypeError, KeyError, ValueError):
            return cls()


@dataclass(frozen=True, slots=True)
class Scale:
    """How many workers are wanted, and why.

    Attributes:
        why: a short sentence for people.
        posts_per_second: capacity that is needed.
        worker_posts_per_second: what one worker is taken to do.
    """

    desired: int
    why: str
    posts_per_second: float
    worker_posts_per_second: float
    state: State = field(repr=False)


def rescale(signal: Signal, goals: Goals, state: State, *, now: float) -> Scale:
    """The wanted number of workers.

    Args:
        now: seconds on any clock that goes on between calls.
    """
    first = state.desired is None
    before = signal.ready if state.desired is None else state.desired
    before = min(max(before, goals.floor), goals.ceiling)

    pace = worker_pace(signal, goals)
    live = _merged(signal, "high", "normal")
    due = _due(live, goals.latency_seconds, goals)
    low = _due(signal.waiting.get("low", Waiting()), goals.low_latency_seconds, goals)
    coming, lasting = _coming(signal, goals), _lasting(signal)
    have = before * pace
    for_live = have - min(low, have * LOW_SHARE)
    if _can_wait(live.posts, coming, for_live, goals):
        coming = min(coming, have)
    needed = max(coming, due) + low
    wanted = math.ceil(needed / pace - 1e-9)
    enough = math.ceil((max(lasting, due) + low) * (1 + MARGIN) / pace - 1e-9)
    why = "for posts that come" if coming >= due else "for posts that wait"
    if low > 0.5 * needed:
        why = "for posts of low priority"
    if signal.unfinished and wanted < 1:
        wanted, why = 1, "for posts that are unfinished"
    if wanted < 1:
        why = "nothing waits"
    if signal.idle_seconds < goals.idle_seconds:
        # the last worker waits for the next post, but none is started for that
        enough = max(enough, 1)
    wanted = min(max(wanted, goals.floor), goals.ceiling)
    enough = min(max(enough, wanted), goals.ceiling)

    if signal.stalled_seconds >= STALLED_SECONDS and wanted > before >= 1:
        wanted = enough = before
        why = "nothing is done by the workers there are: no more are added"
    # who begins to watch does not know yet how long its workers were not needed
    recent = _remember(
        state.recent, now, max(enough, before) if first else enough, goals.keep_seconds
    )
    if wanted > before:
        desired = wanted
    else:
        desired = min(before, max(number for _, number in recent))
        if desired > wanted:
            why += "; some are kept for a while"
    return Scale(desired, why, needed, pace, State(desired, recent))


def worker_pace(signal: Signal, goals: Goals) -> float:
    """Posts a second of one worker: as measured while posts waited, else as configured."""
    configured = goals.worker_posts_per_second
    measured = signal.worker_posts_per_second
    if measured is None or signal.stalled_seconds >= STALLED_SECONDS:
        return configured
    if not configured / PLAUSIBLE <= measured <= configured * PLAUSIBLE:
        return configured
    return measured


def _coming(signal: Signal, goals: Goals) -> float:
    """Posts a second that come, seen as early as it has to be and as their number leaves no doubt.

    A burst looks like a new rate at first. Stretches of time shorter than what scaling can wait
    for (the aim without a worker's start) are not looked at.
    """
    can_wait = max(SHORTEST_SECONDS, AIM * goals.latency_seconds - goals.start_seconds)
    long_enough = [pair for pair in signal.arrivals if pair[0] >= can_wait]
    return max(
        (
            max(0.0, posts - SURE * math.sqrt(posts)) / seconds
            for seconds, posts in long_enough or signal.arrivals[-1:]
        ),
        default=0.0,
    )


def _can_wait(posts: int, coming: float, capacity: float, goals: Goals) -> bool:
    """Whether nothing has to be done yet about posts that come faster than they are judged."""
    if capacity <= 0:
        return False
    ahead = posts + max(0.0, coming - capacity) * goals.start_seconds
    return ahead / capacity <= PATIENCE * goals.latency_seconds


def _lasting(signal: Signal) -> float:
    """Posts a second that come, as the longest stretch of time has it."""
    if not signal.arrivals:
        return 0.0
    seconds, posts = signal.arrivals[-1]
    return posts / seconds


def _due(waiting: Waiting, goal_seconds: float, goals: Goals) -> float:
    """The least constant pace at which every waiting post is taken in hand in time.

    A post that is late already, or nearly, gets the time that a new worker needs anyway: a shorter
    one would ask for all workers at once and help nobody.
    """
    shortest = max(goals.start_seconds, goal_seconds / 4)
    return max(
        (
            posts / max(shortest, AIM * goal_seconds - age_seconds)
            for age_seconds, posts in waiting.profile
        ),
        default=0.0,
    )


def _merged(signal: Signal, *priorities: str) -> Waiting:
    """Posts of several priorities as one list: at each age, all that are at least so old."""
    waiting: Mapping[str, Waiting] = {str(k): v for k, v in signal.waiting.items()}
    profiles = [waiting[p].profile for p in priorities if p in waiting]
    ages = sorted({age for profile in profiles for age, _ in profile}, reverse=True)
    merged = tuple(
        (age, sum(max((n for a, n in profile if a >= age), default=0) for profile in profiles))
        for age in ages
    )
    return Waiting(sum(waiting[p].posts for p in priorities if p in waiting), 0.0, merged)


def _remember(
    recent: tuple[tuple[float, int], ...], now: float, enough: int, keep_seconds: float
) -> tuple[tuple[float, int], ...]:
    """The falling maxima of what sufficed within `keep_seconds`."""
    kept = [(at, n) for at, n in recent if n > enough and now - keep_seconds < at <= now]
    return (*kept, (now, enough))
