"""The simulation: the same from a seed, right where the answer is known, true to its page."""

from __future__ import annotations

import pytest

from benchmarks.autoscaling.__main__ import PAGE, goals_for, policies, replay
from benchmarks.autoscaling.fleet import Machine, percentile, simulate
from benchmarks.autoscaling.oracle import least, plan
from benchmarks.autoscaling.shapes import Shape, shapes

MACHINE = Machine(pace=100.0, start_seconds=5.0, ceiling=40)


def test_a_seed_gives_the_same_again_and_another_seed_does_not() -> None:
    assert shapes(1, short=True) == shapes(1, short=True)
    assert shapes(1, short=True) != shapes(2, short=True)
    spike = shapes(1, short=True)[2]
    goals = goals_for(spike, MACHINE, 30, 600)
    first, second = (
        [
            (p.name, r.latency, r.worker_seconds, r.scalings)
            for p, r in replay(spike, MACHINE, goals)
        ]
        for _ in range(2)
    )
    assert first == second


def test_queue_latency_is_what_arithmetic_says() -> None:
    # 1,000 posts at once, two workers of 100 a second: the last leaves in the fifth second.
    shape = Shape("burst", (1000,) + (0,) * 9)
    result = simulate(shape, MACHINE, lambda _: 2, every_seconds=1, begin_with=2)
    assert dict(result.latency) == {0: 200, 1: 200, 2: 200, 3: 200, 4: 200}
    assert percentile(result.latency, 0.5) == 2
    assert result.worker_seconds == 20
    assert result.left == 0


def test_a_worker_serves_only_when_it_has_started_and_costs_from_the_beginning() -> None:
    shape = Shape("burst", (100,) + (0,) * 19, floor=0)
    result = simulate(shape, MACHINE, lambda _: 1, every_seconds=1, begin_with=0)
    assert dict(result.latency) == {5: 100}
    assert result.worker_seconds == 20


def test_nothing_is_taken_while_the_source_is_away() -> None:
    shape = Shape("away", (10,) * 20, away=(5, 10))
    result = simulate(shape, MACHINE, lambda _: 1, every_seconds=1, begin_with=1)
    assert max(result.latency) == 5


def test_low_priority_gets_its_share_and_what_is_left() -> None:
    shape = Shape("both", (200,) * 10, low=(1000,) + (0,) * 9)
    result = simulate(shape, MACHINE, lambda _: 1, every_seconds=1, begin_with=1)
    assert sum(posts for late, posts in result.low_latency.items() if late < 10) == pytest.approx(
        10 * 100 / 16, rel=0.1
    )


@pytest.mark.parametrize("number", range(6))
def test_the_oracle_meets_the_goal_at_less_than_any_policy_that_does(number: int) -> None:
    shape = shapes(1, short=True)[number]
    goals = goals_for(shape, MACHINE, 30, 600)
    played = replay(shape, MACHINE, goals)
    (name, oracle), *others = [(policy.name, result) for policy, result in played]
    assert name == "oracle"
    # posts that still wait at the end, in time, need not have been served
    assert oracle.worker_seconds >= 0.95 * least(shape, MACHINE)
    assert plan(shape, MACHINE, goals) == plan(shape, MACHINE, goals)
    late = percentile(oracle.latency, 0.95)
    if shape.away is None:
        assert late <= goals.latency_seconds
    for _, result in others:
        if percentile(result.latency, 0.95) <= late and not result.left:
            # whole workers and starts: the plan is near the best one, not at it
            assert result.worker_seconds >= 0.9 * oracle.worker_seconds


def test_the_page_has_every_shape_and_every_policy() -> None:
    page = PAGE.read_text()
    for shape in shapes(1, short=True):
        assert f"**{shape.name}**" in page
        for policy in policies(shape, MACHINE, goals_for(shape, MACHINE, 30, 600)):
            assert policy.name.split(":")[0].split(" target")[0] in page
