"""A source that is down, told from posts that it cannot answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from deadpan.errors import SourceUnavailable
from sources.post import FetchedPost, FetchFailure, FetchResult, Gone, Post
from tasks.source_watch import EXCUSED, FEW, LONGEST_SECONDS, PROBE_SECONDS, SourceWatch


class Source:
    """Answers requests for many ids; one that it cannot answer spoils the request it is in."""

    def __init__(self) -> None:
        self.is_down = False
        self.poison: set[str] = set()
        self.asked: list[list[str]] = []

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        if "1,2" in post_ids:
            refused: FetchResult = FetchFailure("1,2", "it holds a comma", False)
            return {"1,2": refused, **self._answer([i for i in post_ids if i != "1,2"])}
        return self._answer(post_ids)

    def _answer(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        if not post_ids:
            return {}
        self.asked.append(list(post_ids))
        if self.is_down or self.poison & set(post_ids):
            return {i: FetchFailure(i, "it answered 500", True, outage=True) for i in post_ids}
        return {i: Gone(i, "404") if i == "gone" else FetchedPost(Post(i, "x")) for i in post_ids}

    def close(self) -> None:
        """Nothing to give back."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.waited = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waited += seconds


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(source: Source, clock: Clock) -> SourceWatch:
    return SourceWatch(source, clock=clock, wait=clock.wait)


def failures(results: dict[str, FetchResult]) -> set[str]:
    return {post_id for post_id, each in results.items() if isinstance(each, FetchFailure)}


def test_a_source_that_is_down_is_asked_for_one_post_now_and_then_until_it_answers(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    ids = [f"p{n}" for n in range(20)]
    source.is_down = True
    with pytest.raises(SourceUnavailable, match="it answered 500"):
        watch.fetch(ids)
    source.asked.clear()
    for _ in range(10):
        with pytest.raises(SourceUnavailable) as refused:
            watch.fetch(ids)
        assert 0 < refused.value.wait_seconds <= PROBE_SECONDS
    assert source.asked == []
    assert clock.waited > 0, "or all that waits would be taken and given back again and again"
    clock.now += PROBE_SECONDS
    with pytest.raises(SourceUnavailable):
        watch.fetch(ids)
    assert [len(asked) for asked in source.asked] == [1]
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert set(watch.fetch(ids)) == set(ids)
    assert failures(watch.fetch(ids)) == set()


@pytest.mark.parametrize("answer", ["p1", "gone"])
def test_any_answer_ends_it(source: Source, clock: Clock, watch: SourceWatch, answer: str) -> None:
    source.is_down = True
    with pytest.raises(SourceUnavailable):
        watch.fetch(["a", "b", "c"])
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert failures(watch.fetch([answer])) == set()


def test_an_id_that_is_not_even_asked_for_is_no_answer(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    for _ in range(5):
        with pytest.raises(SourceUnavailable):
            watch.fetch(["1,2", "a", "b", "c"])
        clock.now += PROBE_SECONDS
    with pytest.raises(SourceUnavailable):
        watch.fetch(["1,2"])
    source.is_down = False
    clock.now += PROBE_SECONDS
    assert failures(watch.fetch(["a"])) == set()
    assert failures(watch.fetch(["1,2", "a"])) == {"1,2"}
    assert failures(watch.fetch(["1,2"])) == {"1,2"}


def test_a_post_that_spoils_the_answer_to_all_is_no_outage(
    source: Source, watch: SourceWatch
) -> None:
    source.poison = {"p7"}
    ids = [f"p{n}" for n in range(20)]
    for _ in range(20):
        assert "p7" in failures(watch.fetch(ids)), "it uses up its tries"
        assert failures(watch.fetch(["other"])) == set()


@pytest.mark.parametrize("ids", [["a"], ["a", "b"]])
def test_few_posts_that_nobody_is_answered_beside_wait_untried(
    source: Source, clock: Clock, watch: SourceWatch, ids: list[str]
) -> None:
    source.is_down = True
    for _ in range(100):
        with pytest.raises(SourceUnavailable) as refused:
            watch.fetch(ids)
        clock.now += refused.value.wait_seconds
    assert clock.now - 1000 > 400, "longer than all tries of a post last"
    source.is_down = False
    assert failures(watch.fetch(ids)) == set()


@pytest.mark.parametrize("ids", [["a"], ["a", "b"]])
def test_few_posts_that_fail_while_others_are_answered_are_to_blame_themselves(
    source: Source, clock: Clock, watch: SourceWatch, ids: list[str]
) -> None:
    source.poison = set(ids)
    for _ in range(EXCUSED):
        with pytest.raises(SourceUnavailable):
            watch.fetch(ids)
        assert failures(watch.fetch(["other"])) == set(), "nobody waits for them"
    for _ in range(20):
        clock.now += PROBE_SECONDS
        assert failures(watch.fetch(ids)) == set(ids)


def test_one_post_alone_tells_an_outage_too(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    for _ in range(FEW):
        with pytest.raises(SourceUnavailable):
            watch.fetch(["a"])
        clock.now += PROBE_SECONDS / 2
    source.asked.clear()
    with pytest.raises(SourceUnavailable):
        watch.fetch(["b"])
    assert source.asked == [], "it is known to be down"


def test_chunks_of_one_post_each_tell_it_too(source: Source, watch: SourceWatch) -> None:
    source.is_down = True
    for post_id in "abcd":
        with pytest.raises(SourceUnavailable):
            watch.fetch([post_id])
    assert source.asked == [["a"], ["b"], ["c"]]


def test_many_posts_that_are_never_answered_use_up_their_tries_while_others_are(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.poison = {f"bad{n}" for n in range(10)}

    def counted() -> bool:
        clock.now += PROBE_SECONDS
        try:
            return failures(watch.fetch(sorted(source.poison))) == source.poison
        except SourceUnavailable:
            return False
        finally:
            clock.now += PROBE_SECONDS
            assert failures(watch.fetch(["good"])) == set(), "nobody waits for them"

    tried = repeated(counted, at_most=10 * EXCUSED + 20)
    assert sum(tried) >= 5
    assert all(tried[-5:])


def test_after_a_day_without_an_answer_tries_count_again(
    source: Source, clock: Clock, watch: SourceWatch
) -> None:
    source.is_down = True
    with pytest.raises(SourceUnavailable):
        watch.fetch(["a", "b", "c"])
    clock.now += LONGEST_SECONDS
    for _ in range(5):
        assert failures(watch.fetch(["a", "b", "c"])) == {"a", "b", "c"}
    source.is_down = False
    assert failures(watch.fetch(["a", "b", "c"])) == set()
    source.is_down = True
    with pytest.raises(SourceUnavailable):
        watch.fetch(["d", "e", "f"])


def repeated(ask: Callable[[], bool], *, at_most: int) -> list[bool]:
    return [ask() for _ in range(at_most)]
