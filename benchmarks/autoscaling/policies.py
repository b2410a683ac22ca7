"""What says how many workers there are.

KEDA and the HorizontalPodAutoscaler by their documented formulas: the HPA looks every 15 seconds,
wants `ceil(metric / target)` (AverageValue) or `ceil(replicas × utilisation / target)`, changes
nothing within a tolerance of 10 %, adds at most 4 pods or as many as there are in 15 seconds, and
goes down only to the highest recommendation of the last 300 seconds
(kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale). KEDA hands a list's length to
the HPA; from and to zero it acts itself, every `pollingInterval` (30 s) and after
`cooldownPeriod` (300 s) without anything in the list
(keda.sh/docs/latest/reference/scaledobject-spec).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.autoscaling.fleet import Fleet
from worker.fleet.scaling import Goals, State, rescale

HPA_SECONDS = 15
TOLERANCE = 0.1
STABILISATION_SECONDS = 300
KEDA_POLLING_SECONDS = 30
KEDA_COOLDOWN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to scale.

    Attributes:
        make: gives a fresh scaler, with its own memory.
        every_seconds: how often it is asked.
    """

    name: str
    make: Callable[[], Callable[[Fleet], int]]
    every_seconds: int
    fixed: int | None = None


def deadpan(goals: Goals) -> Policy:
    """This project's function, applied at once, as `deadpan autoscale` does."""

    def make() -> Callable[[Fleet], int]:
        state = State()

        def want(fleet: Fleet) -> int:
            nonlocal state
            scale = rescale(fleet.signal(), goals, state, now=float(fleet.now))
            state = scale.state
            return scale.desired

        return want

    return Policy("**Deadpan**, `deadpan autoscale`", make, 2)


def deadpan_by_keda(goals: Goals) -> Policy:
    """The same number, fetched by KEDA's metrics-api scaler and applied by the HPA."""

    def make() -> Callable[[Fleet], int]:
        state = State()

        def want(fleet: Fleet) -> int:
            nonlocal state
            scale = rescale(fleet.signal(), goals, state, now=float(fleet.now))
            state = scale.state
            # Our ScaledObject has no stabilisation and no limit on steps; the tolerance stays.
            return within_tolerance(fleet.workers, scale.desired)

        return want

    return Policy("**Deadpan**, by KEDA's metrics-api", make, HPA_SECONDS)


def keda_list_length(target: int, floor: int) -> Policy:
    """KEDA's Redis list scaler, a trigger for each list, with the HPA's default behaviour."""

    def make() -> Callable[[Fleet], int]:
        memory = Stabilised()
        last_waiting = -math.inf

        def want(fleet: Fleet) -> int:
            nonlocal last_waiting
            lengths = (fleet.waiting_live, fleet.waiting_low)
            if any(lengths):
                last_waiting = fleet.now
            if floor == 0 and fleet.workers == 0:
                return int(any(lengths) and fleet.now % KEDA_POLLING_SECONDS == 0)
            if floor == 0 and fleet.now - last_waiting > KEDA_COOLDOWN_SECONDS:
                return 0
            wanted = max(math.ceil(length / target) for length in lengths)
            wanted = within_tolerance(fleet.workers, wanted)
            return memory.limit(fleet, max(1, floor, wanted))

        return want

    return Policy(f"KEDA, list length, target {target:,}", make, HPA_SECONDS)


def cpu(target: float, floor: int) -> Policy:
    """The HPA on CPU utilisation; it cannot go to zero."""

    def make() -> Callable[[Fleet], int]:
        memory = Stabilised()

        def want(fleet: Fleet) -> int:
            replicas = max(1, fleet.workers)
            used = sum(fleet.busy) / len(fleet.busy) if fleet.busy else 0.0
            ratio = used / target
            if ratio > 1:
                # Pods that are not ready yet count as if they used nothing.
                ratio = max(1.0, ratio * fleet.ready / replicas)
            wanted = replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(replicas * ratio)
            return memory.limit(fleet, max(1, floor, wanted))

        return want

    return Policy(f"HPA, CPU at {target:.0%}", make, HPA_SECONDS)


def fixed(name: str, workers: int) -> Policy:
    """Always the same number."""
    return Policy(f"fixed, {name}: {workers}", lambda: lambda _: workers, 60, fixed=workers)


def planned(plan: Sequence[int]) -> Policy:
    """A plan made beforehand: the oracle's."""
    return Policy("oracle", lambda: lambda fleet: plan[fleet.now], 1)


def within_tolerance(current: int, wanted: int) -> int:
    """The HPA changes nothing where the ratio is within its tolerance."""
    if current and abs(wanted / current - 1) <= TOLERANCE:
        return current
    return wanted


class Stabilised:
    """The HPA's default behaviour: limits on the way up, memory on the way down."""

    def __init__(self) -> None:
        self._recommended: list[tuple[int, int]] = []

    def limit(self, fleet: Fleet, wanted: int) -> int:
        """What the HPA makes of a recommendation."""
        since = fleet.now - STABILISATION_SECONDS
        self._recommended = [(at, n) for at, n in self._recommended if at > since]
        self._recommended.append((fleet.now, wanted))
        current = fleet.workers
        if wanted > current:
            return min(wanted, max(2 * current, current + 4))
        return min(current, max(n for _, n in self._recommended))
