"""An oracle: it knows all arrivals beforehand, and plans the fewest worker-seconds it can.

Between what has come by a time and what must be taken in hand by it lies a tube; the tightest
string through it (the taut string) is the smoothest pace that keeps every post in time. A pace is
rounded up to whole workers, and a worker that would be missed again within the time of a start
stays. Rounding leaves capacity over, and five posts of a hundred may be late: so plans for a little
less are simulated too, and the cheapest one that meets the goals is taken. Whole workers and starts
make it a plan, not a bound: `least` gives the bound, with which no worker ever idles or starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from benchmarks.autoscaling.fleet import Machine, percentile, simulate
from benchmarks.autoscaling.policies import planned
from benchmarks.autoscaling.shapes import Shape
from worker.fleet.scaling import Goals

STEP_SECONDS = 2
SPARE = 0.9
"""Of the goal: what is left covers the rounding of times to whole seconds."""


LIVE_PARTS = (1.0, 0.97, 0.94)
LOW_PARTS = (1.0, 0.9, 0.8, 0.7, 0.6, 2.5)
"""More than its pace too: a chunk keeps a sixteenth for low priority, needed or not."""


def plan(shape: Shape, machine: Machine, goals: Goals) -> list[int]:
    """Workers that are to be there, starting or ready, in each second."""
    live = _paces(shape, shape.live, goals.latency_seconds, machine)
    low = _paces(shape, shape.low, goals.low_latency_seconds, machine) if shape.low else None
    in_time: list[tuple[float, list[int]]] = []
    late: list[tuple[float, list[int]]] = []
    for live_part in LIVE_PARTS:
        for low_part in LOW_PARTS if low else (1.0,):
            paces = [
                live_part * a + low_part * b
                for a, b in zip(live, low or [0.0] * len(live), strict=True)
            ]
            tried = _in_whole_workers(paces, shape, machine)
            result = simulate(
                shape, machine, planned(tried).make(), every_seconds=1, begin_with=tried[0]
            )
            is_in_time = (
                percentile(result.latency, 0.95) <= goals.latency_seconds
                and percentile(result.low_latency, 0.95) <= goals.low_latency_seconds
                and not result.left
            )
            (in_time if is_in_time else late).append((result.worker_seconds, tried))
    return (min(in_time) if in_time else max(late))[1]


def _in_whole_workers(paces: Sequence[float], shape: Shape, machine: Machine) -> list[int]:
    ready = [
        min(machine.ceiling, max(shape.floor, math.ceil(pace / machine.pace - 1e-6)))
        for pace in paces
    ]
    ahead = math.ceil(machine.start_seconds)
    _fill_valleys(ready, ahead)
    return [max(ready[second : second + ahead + 1]) for second in range(shape.seconds)]


def least(shape: Shape, machine: Machine) -> float:
    """Worker-seconds below which no policy that serves all posts can be."""
    return (sum(shape.live) + sum(shape.low)) / machine.pace


def _paces(shape: Shape, came: Sequence[int], goal_seconds: float, machine: Machine) -> list[float]:
    """Posts a second to take in hand, in each second."""
    total = [0, *accumulate(came)]
    away = shape.away or (0, 0)
    delay = int(goal_seconds * SPARE)
    most = machine.pace * machine.ceiling
    upper, lower = [], []
    possible = 0.0
    for second in range(len(total)):
        available = total[away[0]] if away[0] <= second < away[1] else total[second]
        due = total[second - delay] if second >= delay else 0
        if second and not away[0] <= second - 1 < away[1]:
            possible = min(possible + most, available)
        upper.append(float(available))
        # what came while the source was away is late already: as soon as all workers could
        lower.append(min(float(due), possible, float(available)))
    upper[-1] = lower[-1] = max(lower[-1], float(total[-1]) if not delay else lower[-1])
    return _taut(upper, lower)


def _taut(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Slope of the taut string from (0, 0) between two curves, in each second."""
    last = len(upper) - 1
    places = [*range(0, last, STEP_SECONDS), last]
    slopes: list[float] = []
    at, height = 0, 0.0
    while at < last:
        steepest, flattest = math.inf, 0.0
        turn_up = turn_down = at
        chosen: tuple[int, float] | None = None
        for place in places[places.index(at) + 1 :] if at in places else []:
            run = place - at
            most, need = (upper[place] - height) / run, (lower[place] - height) / run
            if need > steepest:
                chosen = turn_down, steepest
                break
            if most < flattest:
                chosen = turn_up, flattest
                break
            if most <= steepest:
                steepest, turn_down = most, place
            if need >= flattest:
                flattest, turn_up = need, place
        if chosen is None:
            chosen = last, flattest
        turn, slope = chosen
        slopes += [max(0.0, slope)] * (turn - at)
        height += slope * (turn - at)
        at = turn
    return slopes


def _fill_valleys(ready: list[int], seconds: int) -> None:
    """Keep workers over gaps shorter than a start."""
    second = 1
    while second < len(ready):
        if ready[second] < ready[second - 1]:
            level = ready[second - 1]
            ahead = ready[second : second + seconds + 1]
            peak = max(ahead, default=0)
            if peak > ready[second]:
                keep = min(level, peak)
                end = second
                while end < len(ready) and ready[end] < keep:
                    ready[end] = keep
                    end += 1
        second += 1
