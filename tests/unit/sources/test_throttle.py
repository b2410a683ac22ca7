"""A source that is asked too much is asked less, and then slowly more."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.net.throttle import SLOWEST_PER_SECOND, NotNowError, Throttle

MOST, IDS = 8, 64


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def throttle(clock: Clock) -> Throttle:
    return Throttle(MOST, IDS, clock=clock, jitter=lambda: 1.0)


def asked(
    source: Throttle, clock: Clock, answer: Callable[[], float | str | None], seconds: float = 0.01
) -> int:
    """Ask once, at the next moment at which that is allowed; gives how often there was none.

    Args:
        answer: gives "posts", or what a refusal says of its length.
        seconds: that the answer takes.
    """
    for waits in range(1000):
        try:
            with source.turn(clock.now) as turn:
                clock.now += seconds
                said = answer()
                if said == "posts":
                    turn.answered()
                else:
                    turn.refused(said)  # type: ignore[arg-type]
            return waits
        except NotNowError as error:
            clock.now += error.seconds
    raise AssertionError("its turn never comes")


def test_a_source_that_refuses_nothing_is_not_slowed_down() -> None:
    clock = Clock()
    source = throttle(clock)
    assert sum(asked(source, clock, lambda: "posts", 0.0) for _ in range(1000)) == 0
    assert not source.limits.slowed
    assert source.posts_in(1.0) == float("inf")


def test_a_refusal_halves_and_answers_bring_it_back_step_by_step() -> None:
    clock = Clock()
    source = throttle(clock)
    asked(source, clock, lambda: 3.0)
    slowed = source.limits
    assert (slowed.at_once, slowed.ids, slowed.pauses) == (4, 32, 1)
    assert slowed.paused_seconds == pytest.approx(3.0)
    assert slowed.per_second is not None
    before = slowed
    for _ in range(200):
        asked(source, clock, lambda: "posts")
        now = source.limits
        assert before.at_once <= now.at_once <= before.at_once + 1
        before = now
        if not now.slowed:
            break
    assert (now.at_once, now.ids, now.per_second) == (MOST, IDS, None)


def test_what_was_under_way_at_a_refusal_slows_down_no_further() -> None:
    clock = Clock()
    source = throttle(clock)
    with source.turn(clock.now) as first, source.turn(clock.now) as second:
        clock.now += 0.1
        first.refused(2.0)
        clock.now += 0.1
        second.refused(5.0)
    assert (source.limits.at_once, source.limits.pauses) == (4, 1)
    assert source.limits.paused_seconds == pytest.approx(5.0), "the longer of both"


def test_a_source_that_does_not_say_for_how_long_is_left_alone_longer_each_time() -> None:
    clock = Clock()
    source = throttle(clock)
    pauses = []
    for _ in range(9):
        asked(source, clock, lambda: None)
        pauses.append(source.limits.paused_seconds)
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    asked(source, clock, lambda: "posts")
    asked(source, clock, lambda: None)
    assert source.limits.paused_seconds == pytest.approx(1)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("allowed", "window_seconds"), [(8, 2.0), (60, 60.0), (1000, 10.0)])
def test_workers_settle_near_what_a_source_allows_in_a_window(
    allowed: int, window_seconds: float, workers: int
) -> None:
    clock = Clock()
    sources = [throttle(clock) for _ in range(workers)]
    window, used, answered, refused = 0, 0, 0, 0

    def answer() -> float | str | None:
        nonlocal window, used, answered, refused
        now = int(clock.now / window_seconds)
        if now != window:
            window, used = now, 0
        used += 1
        if used > allowed:
            refused += 1
            return (window + 1) * window_seconds - clock.now
        answered += 1
        return "posts"

    for _ in range(100_000):
        ready = None
        for source in sources:
            try:
                with source.turn(clock.now) as turn:
                    said = answer()
                    if said == "posts":
                        turn.answered()
                    else:
                        turn.refused(said)  # type: ignore[arg-type]
                ready = 0.0
            except NotNowError as error:
                ready = error.seconds if ready is None else min(ready, error.seconds)
        clock.now += max(ready or 0.0, 0.005)
        if clock.now > 1000.0 + 40 * window_seconds:
            break
    assert answered > 0.4 * 40 * allowed, "most of what it allows is used"
    assert refused < 0.25 * (answered + refused), "it is not hammered"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.just("posts"), st.none(), st.floats(0, 3600)), st.floats(0.0, 30.0)),
        max_size=60,
    )
)
def test_limits_stay_in_their_bounds_whatever_is_answered(
    answers: list[tuple[float | str | None, float]],
) -> None:
    clock = Clock()
    source = throttle(clock)
    for said, seconds in answers:
        paused_until = clock.now + source.limits.paused_seconds
        asked(source, clock, lambda said=said: said, seconds)  # type: ignore[misc]
        assert clock.now - seconds >= paused_until - 1e-6, "not asked in a pause"
        limits = source.limits
        assert 1 <= limits.at_once <= MOST
        assert 1 <= limits.ids <= IDS
        assert limits.per_second is None or limits.per_second >= SLOWEST_PER_SECOND
        assert 0 <= limits.paused_seconds <= 3600.001
    for _ in range(500):
        asked(source, clock, lambda: "posts", 0.1)
    assert not source.limits.slowed, "answers bring it back to the full"


def test_a_turn_that_waits_is_taken_when_another_ends_and_none_waits_when_it_is_closed() -> None:
    source = Throttle(1, 1)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            with source.turn(source.patience() + 60):
                outcomes.append("asked")
        except NotNowError:
            outcomes.append("not now")

    with source.turn(source.patience()):
        waiting = threading.Thread(target=ask)
        waiting.start()
    waiting.join()
    with source.turn(source.patience()):
        waiting = threading.Thread(target=ask)
        waiting.start()
        source.close()
        waiting.join()
    assert outcomes == ["asked", "not now"]
