"""A source that is down or paused, told from posts that it cannot answer."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deadpan.core.errors import SourceUnavailable
from sources.net.throttle import NotNowError, Throttle
from sources.post import FetchedPost, FetchFailure, FetchResult, Gone, Post
from tasks.watches.source_round import FEW, MOST_REQUESTS
from tasks.watches.source_watch import (
    LONGEST_REST_SECONDS,
    LONGEST_SECONDS,
    PROBE_SECONDS,
    REFUSED_REST_SECONDS,
    SourceWatch,
)

TIMEOUT_SECONDS = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.waited = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waited += seconds


class Source:
    """Answers requests for many ids; one that it cannot answer spoils the request it is in."""

    def __init__(self, clock: Clock, *, one_each: bool = False) -> None:
        self.clock = clock
        self.throttle = Throttle(8, 64, clock=clock, jitter=lambda: 1.0)
        self.one_each = one_each
        self.is_down = False
        self.refuses: float | None = None
        self.poison: set[str] = set()
        self.hanging: set[str] = set()
        self.asked: list[list[str]] = []

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        refused = {i: FetchFailure(i, "it holds a comma", False) for i in post_ids if "," in i}
        groups = [[i for i in post_ids if i not in refused]]
        if self.one_each:
            groups = [[i] for i in groups[0]]
        results: dict[str, FetchResult] = {**refused}
        for group in groups:
            if group:
                results |= self._answer(group)
        return results

    def _answer(self, group: Sequence[str]) -> dict[str, FetchResult]:
        alone = len(group) == 1
        try:
            with self.throttle.turn(self.clock.now) as turn:
                self.asked.append(list(group))
                if self.refuses is not None:
                    seconds = turn.refused(self.refuses)
                    return {
                        i: FetchFailure(i, "429", True, seconds, alone=alone, untried=True)
                        for i in group
                    }
                if self.hanging & set(group):
                    self.clock.now += TIMEOUT_SECONDS
                if self.is_down or (self.poison | self.hanging) & set(group):
                    return {
                        i: FetchFailure(i, "it answered 500", True, outage=True, alone=alone)
                        for i in group
                    }
                turn.answered()
        except NotNowError as error:
            return {i: FetchFailure(i, "later", True, error.seconds, untried=True) for i in group}
        return {i: Gone(i, "404") if i == "gone" else FetchedPost(Post(i, "x")) for i in group}

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


@pytest.fixture
def watch(source: Source, clock: Clock) -> SourceWatch:
    return watching(source, clock)


def watching(source: Source, clock: Clock) -> SourceWatch:
    return SourceWatch(source, throttle=source.throttle, clock=clock, wait=clock.wait)


def failures(results: dict[str, FetchResult]) -> set[str]:
    return {post_id for post_id, each in results.items() if isinstance(each, FetchFailure)}


def tries(results: dict[str, FetchResult]) -> set[str]:
    """Posts for which this was one of their tries."""
    return {
        post_id
        for post_id, each in results.items()
        if isinstance(each, FetchFailure) and not each.untried
    }


def rests(watch: SourceWatch, ids: Sequence[str]) -> float:
    """Ask in vain; gives for how long the posts rest."""
    with pytest.raises(SourceUnavailable) as refused:
        watch.fetch(ids)
    return refused.value.wait_seconds


# ------------------------------------------------------------------------------- an outage


def test_a_source_that_is_down_is_asked_for_one_post_now_and_then_until_it_answers(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    ids = [f"p{n}" for n in range(20)]
    source.is_down = True
    with pytest.raises(SourceUnavailable, match="it answered 500"):
        watch.fetch(ids)
    assert [len(asked) for asked in source.asked] == [20, 1, 1, 1]
    assert watch.state.down
    source.asked.clear()
    for _ in range(10):
        assert 0 < rests(watch, ids) <= PROBE_SECONDS
        assert 0 < watch.hold_seconds() <= PROBE_SECONDS, "nothing need be taken in hand"
    assert source.asked == []
    assert clock.waited > 0, "or all that waits would be taken and given back again and again"
    clock.now += PROBE_SECONDS
    assert watch.hold_seconds() == 0
    rests(watch, ids)
    assert [len(asked) for asked in source.asked] == [1]
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert set(watch.fetch(ids)) == set(ids)
    assert failures(watch.fetch(ids)) == set()
    assert not watch.state.down


@pytest.mark.parametrize("answer", ["p1", "gone"])
def test_any_answer_ends_it(source: Source, clock: Clock, watch: SourceWatch, answer: str) -> None:
    source.is_down = True
    rests(watch, ["a", "b", "c"])
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert failures(watch.fetch([answer])) == set()


def test_an_id_that_is_not_even_asked_for_is_no_answer(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    for _ in range(5):
        rests(watch, ["1,2", "a", "b", "c"])
        clock.now += PROBE_SECONDS
    assert watch.state.down
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert failures(watch.fetch(["a"])) == set()
    assert failures(watch.fetch(["1,2", "a"])) == {"1,2"}
    assert failures(watch.fetch(["1,2"])) == {"1,2"}


def test_chunks_of_one_post_each_tell_it_too(source: Source, watch: SourceWatch) -> None:
    source.is_down = True
    for post_id in "abcd":
        rests(watch, [post_id])
    assert source.asked == [["a"], ["b"], ["c"]]


def test_while_it_is_down_a_post_that_has_not_failed_yet_asks_first(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    for post_id in "abc":
        rests(watch, [post_id])
    clock.now += PROBE_SECONDS
    source.asked.clear()
    rests(watch, ["a", "b", "new", "c"])
    assert source.asked == [["new"]]


def test_an_outage_in_the_middle_of_a_chunk_costs_no_try(clock: Clock) -> None:
    source = Source(clock, one_each=True)
    watch = watching(source, clock)
    ids = [f"p{n}" for n in range(30)]
    source.poison = set(ids[10:])
    results = watch.fetch(ids)
    assert (failures(results), tries(results)) == (source.poison, set())
    source.is_down = True
    for _ in range(50):
        clock.now += rests(watch, ids[10:])
    source.is_down, source.poison = False, set()
    assert failures(watch.fetch(ids)) == set()


def test_after_a_day_without_an_answer_tries_count_again(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    rests(watch, ["a", "b", "c"])
    clock.now += LONGEST_SECONDS
    for _ in range(5):
        assert tries(watch.fetch(["a", "b", "c"])) == {"a", "b", "c"}
    source.is_down = False
    assert failures(watch.fetch(["a", "b", "c"])) == set()
    source.is_down = True
    rests(watch, ["d", "e", "f"])


# -------------------------------------------------------------------- posts that it cannot answer


@pytest.mark.parametrize("bad", [["a"], ["a", "b"]])
def test_few_posts_that_nobody_is_answered_beside_wait_untried_and_longer_each_time(
    source: Source, clock: Clock, watch: SourceWatch, bad: list[str]
) -> None:
    source.poison = set(bad)
    waited = []
    for _ in range(20):
        waited.append(rests(watch, bad))
        assert not watch.state.down, "it is not known to be down"
        clock.now += waited[-1]
    assert waited[:4] == [PROBE_SECONDS, 2 * PROBE_SECONDS, 4 * PROBE_SECONDS, LONGEST_REST_SECONDS]
    assert set(waited[4:]) == {LONGEST_REST_SECONDS}
    assert watch.state.silent_seconds > 400, "it is seen"
    assert watch.hold_seconds() == 0
    assert failures(watch.fetch(["good"])) == set(), "nobody waits for them"
    assert watch.state.silent_seconds == 0


@pytest.mark.parametrize("count", [3, 8])
def test_many_posts_that_fail_hold_up_a_good_one_for_one_question_at_most(
    source: Source, clock: Clock, watch: SourceWatch, count: int
) -> None:
    source.poison = {f"bad{n}" for n in range(count)}
    bad = sorted(source.poison)
    for _ in range(10):
        clock.now += rests(watch, bad)
    assert watch.state.down
    clock.now += watch.hold_seconds()
    assert failures(watch.fetch(["good"])) == set()
    assert not watch.state.down


@pytest.mark.parametrize("bad", [["a"], ["a", "b"]])
def test_each_try_of_a_post_that_fails_needs_an_answer_to_another(
    source: Source, clock: Clock, watch: SourceWatch, bad: list[str]
) -> None:
    source.poison = set(bad)
    rests(watch, bad)
    for _ in range(20):
        assert failures(watch.fetch(["good"])) == set()
        assert tries(watch.fetch(bad)) == set(bad)
        clock.now += rests(watch, bad)  # an outage may have begun meanwhile


def test_a_post_that_is_known_to_fail_is_no_sign_of_an_outage(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.poison = {f"bad{n}" for n in range(10)}
    bad = sorted(source.poison)
    rests(watch, bad)
    for _ in range(40):
        clock.now += PROBE_SECONDS
        assert failures(watch.fetch(["good"])) == set()
        with contextlib.suppress(SourceUnavailable):
            watch.fetch(bad)
    for _ in range(10):
        clock.now += PROBE_SECONDS
        with contextlib.suppress(SourceUnavailable):
            watch.fetch(bad)
        assert not watch.state.down


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("spoilt", [1, 2, 5])
def test_posts_that_spoil_a_chunk_are_found_and_the_others_are_answered_at_once(
    clock: Clock, one_each: bool, spoilt: int
) -> None:
    source = Source(clock, one_each=one_each)
    watch = watching(source, clock)
    ids = [f"p{n}" for n in range(64)]
    source.poison = set(ids[7 : 7 + spoilt])
    results = watch.fetch(ids)
    assert (failures(results), tries(results)) == (source.poison, set())
    assert len(source.asked) <= (64 if one_each else 1 + FEW + 8 * 2 * spoilt)
    for _ in range(5):
        source.asked.clear()
        results = watch.fetch(ids)
        assert tries(results) == failures(results) == source.poison
        assert len(source.asked) <= (64 if one_each else 1 + spoilt), "known, they are asked apart"


def test_a_chunk_full_of_spoilt_posts_costs_a_bounded_number_of_questions(
    source: Source, watch: SourceWatch
) -> None:
    ids = [f"p{n}" for n in range(256)]
    source.poison = set(ids[::2])
    for _ in range(20):
        source.asked.clear()
        try:
            results = watch.fetch(ids)
        except SourceUnavailable:  # the first few happened to be spoilt ones
            continue
        assert len(source.asked) <= 1 + FEW + MOST_REQUESTS
        assert failures(results) >= source.poison
        if failures(results) == source.poison:
            break
        ids = [i for i in ids if i in failures(results)]
        assert not tries(results) - source.poison


def test_a_post_whose_answer_hangs_holds_up_its_neighbours_for_a_few_time_outs(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    ids = [f"p{n}" for n in range(64)]
    source.hanging = {"p7"}
    began_at = clock.now
    assert failures(watch.fetch(ids)) == {"p7"}
    assert clock.now - began_at <= 4 * TIMEOUT_SECONDS
    began_at = clock.now
    assert failures(watch.fetch(ids)) == {"p7"}
    assert clock.now - began_at <= TIMEOUT_SECONDS, "from now on it is asked after all others"


def test_many_posts_whose_answers_hang_are_put_off(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    ids = [f"p{n}" for n in range(64)]
    source.hanging = set(ids[:8])
    judged: set[str] = set()
    for _ in range(20):
        began_at = clock.now
        left = [post_id for post_id in ids if post_id not in judged]
        try:
            results = watch.fetch(left)
        except SourceUnavailable as error:
            clock.now += error.wait_seconds
        else:
            judged |= results.keys() - failures(results)
        assert clock.now - began_at <= 6 * TIMEOUT_SECONDS
    assert judged == set(ids[8:])


def test_a_source_that_says_of_many_posts_that_they_are_odd_is_asked_for_them_in_parts(
    clock: Clock, watch: SourceWatch, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(group: Sequence[str]) -> dict[str, FetchResult]:
        source.asked.append(list(group))
        if len(group) > 4:
            return {i: FetchFailure(i, "403", True, outage=True) for i in group}
        return {i: FetchedPost(Post(i, "x")) for i in group}

    monkeypatch.setattr(source, "_answer", odd)
    assert failures(watch.fetch([f"p{n}" for n in range(16)])) == set()
    assert len(source.asked) == 1 + 1 + 8


# --------------------------------------------------------------------------------- pauses


def test_in_a_pause_nothing_is_asked_and_nothing_is_taken_in_hand(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.refuses = 20.0
    assert rests(watch, ["a", "b"]) == 20.0
    assert watch.hold_seconds() == pytest.approx(20.0)
    source.asked.clear()
    source.refuses = None
    clock.now += 15.0
    assert rests(watch, ["c"]) == pytest.approx(5.0)
    assert source.asked == []
    assert watch.state.paused_seconds == pytest.approx(5.0)
    clock.now += 5.0
    assert watch.hold_seconds() == 0
    assert failures(watch.fetch(["c"])) == set()
    assert watch.state.slowed


def test_a_long_pause_is_looked_at_again_soon_for_another_worker_may_be_answered(
    source: Source, watch: SourceWatch
) -> None:
    source.refuses = 3600.0
    assert rests(watch, ["a"]) == LONGEST_REST_SECONDS
    assert rests(watch, ["b"]) == LONGEST_REST_SECONDS
    assert watch.hold_seconds() > LONGEST_REST_SECONDS


def test_a_pause_in_the_middle_of_a_chunk_costs_no_try(clock: Clock) -> None:
    source = Source(clock, one_each=True)
    watch = watching(source, clock)

    class Refusing(set[str]):
        def __and__(self, group: object) -> set[str]:  # after three posts have been asked for
            source.refuses = 3.0 if len(source.asked) >= 3 else None
            return set()

    source.hanging = Refusing()
    results = watch.fetch([f"p{n}" for n in range(10)])
    assert len(failures(results)) == 7
    assert tries(results) == set()
    assert len(source.asked) == 4, "those that are left are not even asked for"


def test_a_pause_is_no_sign_of_an_outage_and_does_not_end_one(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.refuses = 1.0
    for _ in range(20):
        clock.now += rests(watch, ["a", "b", "c", "d"]) + 60.0
    assert not watch.state.down
    assert watch.state.silent_seconds > 1000
    source.refuses, source.is_down = None, True
    for _ in range(10):  # slowed as it is, it is not asked three times at once
        clock.now += rests(watch, ["a", "b", "c", "d"])
    assert watch.state.down
    source.refuses = 1.0
    clock.now += 60.0
    rests(watch, ["e"])
    assert watch.state.down


def test_a_post_at_which_the_source_asks_for_a_pause_each_time_comes_seldom(
    clock: Clock,
) -> None:
    source = Source(clock, one_each=True)
    watch = watching(source, clock)
    waited = []
    for _ in range(15):
        source.refuses = 2.0
        waited.append(rests(watch, ["heavy"]))
        clock.now += 100.0
        source.refuses = None
        assert failures(watch.fetch(["good"])) == set()
        clock.now += 100.0
    assert waited[0] == 2.0
    assert waited[-1] == REFUSED_REST_SECONDS


def test_chunks_hold_what_the_source_takes(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    assert watch.room(64) == 64
    source.throttle = Throttle(8, 1, clock=clock)
    watch = watching(source, clock)
    source.refuses = 1.0
    rests(watch, ["a"])
    assert watch.room(64) == 4
    assert watch.room(2) == 2


# ------------------------------------------------------------------------- whatever happens

ANSWERS = st.sampled_from(["posts", "refused", "500"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(ANSWERS, st.floats(0.0, 40.0)), min_size=1, max_size=60),
    st.booleans(),
    st.integers(1, 12),
)
def test_no_pause_and_no_outage_ever_costs_a_try(
    answers: list[tuple[str, float]], one_each: bool, posts: int
) -> None:
    clock = Clock()
    source = Source(clock, one_each=one_each)
    watch = watching(source, clock)
    waiting = [f"p{n}" for n in range(posts)]
    used: Counter[str] = Counter()
    recoveries = 0
    before = "posts"
    for said, seconds in answers:
        source.refuses = seconds if said == "refused" else None
        source.is_down = said == "500"
        recoveries += said == "posts" != before
        before = said
        try:
            results = watch.fetch(waiting)
        except SourceUnavailable:
            pass
        else:
            assert set(results) == set(waiting), "one result for each"
            used.update(tries(results))
            if said == "refused":
                assert not tries(results)
        clock.now += seconds
    assert not used or max(used.values()) <= recoveries, "each try needs an answer to others"
    source.refuses, source.is_down = None, False
    for _ in range(40):
        clock.now += 60.0
        try:
            results = watch.fetch(waiting)
        except SourceUnavailable:
            continue
        waiting = [post_id for post_id in waiting if post_id in failures(results)]
        if not waiting:
            break
    assert not waiting, "all are answered in the end"
