"""The promises of the scaling function, tried on loads that hypothesis makes up."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.autoscaling.fleet import Fleet, Machine, Result, simulate
from benchmarks.autoscaling.shapes import Shape
from deadpan.core.errors import ConfigurationError
from tasks.intake.arrivals import Signal, Waiting
from worker.fleet.scaling import Goals, State, rescale

PACE, START, CEILING, LOOK = 100.0, 10.0, 20, 2
MACHINE = Machine(PACE, START, CEILING)


def goals(floor: int = 1, idle_seconds: float = 60.0) -> Goals:
    return Goals(
        latency_seconds=30,
        low_latency_seconds=600,
        floor=floor,
        ceiling=CEILING,
        worker_posts_per_second=PACE,
        start_seconds=START,
        idle_seconds=idle_seconds,
    )


def follow(
    shape: Shape, wanted: Goals, *, begin_with: int | None = None
) -> tuple[list[int], Result]:
    """The number of workers wanted at each look, while a simulated fleet obeys; what came of it."""
    state = State()
    told: list[int] = []

    def want(fleet: Fleet) -> int:
        nonlocal state
        scale = rescale(fleet.signal(), wanted, state, now=fleet.now)
        state = scale.state
        told.append(scale.desired)
        return scale.desired

    begin = wanted.floor if begin_with is None else begin_with
    result = simulate(shape, MACHINE, want, every_seconds=LOOK, begin_with=begin)
    return told, result


def steady(rate: int, seconds: int) -> tuple[int, ...]:
    return (rate,) * seconds


profiles = st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 10**7)), max_size=5).map(
    lambda pairs: tuple(
        zip(sorted((a for a, _ in pairs), reverse=True), sorted(n for _, n in pairs), strict=True)
    )
)
waitings = profiles.map(lambda p: Waiting(p[-1][1], p[0][0], p) if p else Waiting())
signals = st.builds(
    Signal,
    waiting=st.fixed_dictionaries({"high": waitings, "normal": waitings, "low": waitings}),
    in_hand=st.integers(0, 10**6),
    retries=st.integers(0, 10**6),
    arrivals=st.lists(st.tuples(st.floats(1, 60), st.integers(0, 10**7)), max_size=4).map(tuple),
    ready=st.integers(0, 1000),
    worker_posts_per_second=st.none() | st.floats(0, 1e6),
    stalled_seconds=st.floats(0, 1e4),
    idle_seconds=st.floats(0, 1e6),
)
states = st.builds(
    State,
    desired=st.none() | st.integers(0, 1000),
    recent=st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000)), max_size=5).map(tuple),
)


@given(signals, states, st.integers(0, 10), st.integers(1, 1000), st.floats(0, 1e6))
def test_never_below_the_floor_nor_above_the_ceiling(
    signal: Signal, state: State, floor: int, ceiling: int, now: float
) -> None:
    floor = min(floor, ceiling)
    scale = rescale(signal, Goals(floor=floor, ceiling=ceiling), state, now=now)
    assert floor <= scale.desired <= ceiling
    assert scale.why
    assert State.from_json(scale.state.to_json()) == scale.state
    if signal.unfinished:
        assert scale.desired >= 1


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 19 * int(PACE)), st.integers(1, CEILING))
def test_a_steady_load_does_not_flap(rate: int, begin_with: int) -> None:
    told, result = follow(Shape("steady", steady(rate, 600)), goals(), begin_with=begin_with)
    settled = told[300 // LOOK :]
    assert sum(a != b for a, b in pairwise(settled)) <= 1
    # One that falls behind by a post a second is in time for hours yet.
    assert math.ceil(0.97 * rate / PACE) <= settled[-1] <= math.ceil(1.03 * rate / PACE) + 1
    late = max(result.latency)
    assert late <= goals().latency_seconds or begin_with * PACE < rate
    assert result.left == 0


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 30)), min_size=1, max_size=6),
    st.integers(0, 50_000),
    st.integers(0, 1),
)
def test_whatever_comes_is_drained_and_the_fleet_goes_back_to_its_floor(
    pieces: list[tuple[int, int]], low: int, floor: int
) -> None:
    live = tuple(rate for rate, seconds in pieces for _ in range(seconds))
    quiet = (0,) * 1000
    low_posts = (low, *(0,) * (len(live) + len(quiet) - 1))
    told, result = follow(Shape("pieces", live + quiet, low=low_posts, floor=floor), goals(floor))
    assert result.left == 0
    assert told[-1] == floor


@settings(max_examples=15, deadline=None)
@given(st.integers(1, int(PACE)), st.integers(4, 18 * int(PACE)))
def test_no_post_of_a_spike_waits_longer_than_the_goal(before: int, spike: int) -> None:
    told, result = follow(Shape("spike", steady(before, 150) + steady(spike, 120)), goals())
    assert max(result.latency) <= goals().latency_seconds
    assert max(told) <= math.ceil(spike / PACE) * 1.5 + 1


def test_to_zero_and_back() -> None:
    burst = (0,) * 100 + (500,) + (0,) * 299
    told, _ = follow(Shape("bursts", burst * 2, floor=0), goals(0))
    per_round = len(told) // 2
    for part in (told[:per_round], told[per_round:]):
        assert part[45] == 0
        assert part[52] >= 1
        assert part[-1] == 0


def test_one_post_brings_one_worker_from_zero_at_once() -> None:
    post = Waiting(1, 0.5, ((0.5, 1),))
    scale = rescale(Signal(waiting={"normal": post}), goals(0), State(desired=0), now=0)
    assert scale.desired == 1


@pytest.mark.parametrize("where", [{"in_hand": 3}, {"retries": 1}])
def test_chunks_in_hand_and_retries_keep_a_worker(where: dict[str, int]) -> None:
    signal = Signal(waiting={}, idle_seconds=0, **where)  # type: ignore[arg-type]
    assert rescale(signal, goals(0), State(desired=0), now=0).desired == 1


def test_none_is_added_while_those_there_are_get_nothing_done() -> None:
    waiting = Waiting(100_000, 60, ((60.0, 100_000),))
    signal = Signal(
        waiting={"normal": waiting}, arrivals=((60.0, 100_000),), ready=3, stalled_seconds=20
    )
    scale = rescale(signal, goals(), State(desired=3), now=0)
    assert scale.desired == 3
    assert "nothing is done" in scale.why


def test_the_measured_pace_of_workers_counts_unless_it_is_absurd() -> None:
    waiting = Waiting(21_000, 0.0, ((0.0, 21_000),))

    def wanted(pace: float | None) -> int:
        signal = Signal(waiting={"normal": waiting}, worker_posts_per_second=pace)
        return rescale(signal, goals(), State(desired=1), now=0).desired

    assert wanted(None) == 10
    assert wanted(500.0) == 2
    assert wanted(0.0001) == 10


def test_low_priority_is_paced_by_its_own_goal() -> None:
    def wanted(priority: str) -> int:
        waiting = Waiting(100_000, 0.0, ((0.0, 100_000),))
        signal = Signal(waiting={priority: waiting})  # type: ignore[dict-item]
        return rescale(signal, goals(), State(desired=1), now=0).desired

    assert wanted("normal") == CEILING
    assert wanted("low") == 3


def test_goals_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ConfigurationError) as told:
        Goals(floor=3, ceiling=2, latency_seconds=30, low_latency_seconds=10)
    assert "DEADPAN_WORKERS_MIN is 3" in str(told.value.problems)
    assert "DEADPAN_LOW_LATENCY_GOAL_SECONDS is 10" in str(told.value.problems)


def test_a_state_of_another_version_is_none() -> None:
    for told in (None, {}, {"desired": "x", "recent": []}, [1]):
        assert State.from_json(told) == State()
