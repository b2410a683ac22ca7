"""A thread is read in bounds, whatever strangers said that answers what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from deadpan.core.post_fields import read_link, read_parent
from sources.post import FetchFailure, Found, Gone, Post
from sources.thread import Thread, read_thread


class Platform:
    """Posts by id, and what was asked for."""

    def __init__(self, **parents: str | None) -> None:
        self._parents = parents
        self.asked: list[str] = []

    def find(self, post_ids: Sequence[str]) -> dict[str, Found]:
        self.asked += post_ids
        return {each: self._one(each) for each in post_ids}

    def _one(self, post_id: str) -> Found:
        if post_id == "broken":
            return FetchFailure(post_id, "away", transient=True)
        if post_id not in self._parents:
            return Gone(post_id, "no such post")
        return Post(post_id, f"text of {post_id}", parent=self._parents[post_id])

    def thread(self, post_id: str, parent: str | None = None, *erased: str) -> Thread:
        return read_thread(
            self.find, post_id, parent, seconds=60, erased=lambda each: each in erased
        )


def ids(thread: Thread) -> list[str]:
    return [each.id if isinstance(each, Post) else each.post_id for each in thread.before]


def test_a_thread_has_the_oldest_post_first_and_five_at_most() -> None:
    platform = Platform(a=None, b="a", c="b", d="c", e="d", f="e", g="f")
    assert ids(platform.thread("c")) == ["a", "b"]
    assert not platform.thread("c").goes_on
    assert ids(platform.thread("g")) == ["b", "c", "d", "e", "f"]
    assert platform.thread("g").goes_on


@pytest.mark.parametrize(
    ("parents", "expected"),
    [({"a": "a"}, []), ({"a": "b", "b": "a"}, ["b"]), ({"a": "b", "b": "c", "c": "b"}, ["c", "b"])],
)
def test_a_post_that_answers_what_answers_it_is_asked_for_once(
    parents: dict[str, str], expected: list[str]
) -> None:
    platform = Platform(**parents)
    thread = platform.thread("a", parents["a"])
    assert ids(thread) == expected
    assert not thread.goes_on
    assert len(platform.asked) == len(set(platform.asked))


def test_a_thread_ends_where_a_post_is_gone_or_cannot_be_read() -> None:
    platform = Platform(a="b", b="deleted", c="broken")
    assert isinstance(platform.thread("a").before[0], Gone)
    assert isinstance(platform.thread("c").before[0], FetchFailure)


def test_a_post_that_is_gone_has_the_thread_that_its_verdict_names() -> None:
    platform = Platform(b="c", c=None)
    thread = platform.thread("a", "b")
    assert isinstance(thread.post, Gone)
    assert ids(thread) == ["c", "b"]


def test_an_erased_post_is_not_asked_for() -> None:
    platform = Platform(a="b", b="c", c=None)
    assert ids(platform.thread("a", "b", "b")) == ["b"]
    assert isinstance(platform.thread("a", "b", "b").before[0], Gone)
    assert "b" not in platform.asked


def test_a_slow_source_is_not_asked_on_and_on() -> None:
    platform = Platform(a="b", b="c", c=None)
    thread = read_thread(platform.find, "a", "b", seconds=0)
    assert ids(thread) == ["c", "b"]
    assert isinstance(thread.before[0], FetchFailure)


@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//platform.example/1",
        "/posts/1",
        "https://",
        "https://good.example@bad.example/",
        "https://good.example/\u202e",
        "https://good.example/ x",
        'https://good.example/"x',
        "https://[bad/",
        "https://good.example/" + "a" * 3000,
        7,
        None,
    ],
)
def test_what_is_no_link_for_people_counts_as_none(value: object) -> None:
    assert read_link(value) is None


def test_links_and_parents_are_read() -> None:
    assert read_link(" https://platform.example/@ann/1?x=1#y ") == (
        "https://platform.example/@ann/1?x=1#y"
    )
    assert read_parent(12) == "12"
    assert [read_parent(each) for each in ("", "a" * 257, "a\x00", "\ud800", None, True, [1])] == (
        [None] * 7
    )
