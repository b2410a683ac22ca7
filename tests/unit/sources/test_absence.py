"""A post that the platform has is never taken for gone, whatever its answers look like."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sources.absence import Absence, Question
from sources.answer import Answer
from sources.http import HttpSource
from sources.mapping import PostMapping
from sources.post import FetchedPost, FetchFailure, FetchResult, Gone
from tests.unit.sources.source_answers import Open, answering, failure, fetched, platform
from tests.unit.sources.source_server import Handler, Server, asked_ids, post, serving

HERE = [str(number) for number in range(50)]


def holding(
    ids: list[str], shape: Callable[[list[dict[str, object]]], object]
) -> Callable[[Handler], None]:
    """A platform that has these posts, and puts them into an answer of this shape."""
    return lambda handler: handler.json(
        shape([post(each) for each in asked_ids(handler) if each in ids])
    )


def kinds(results: dict[str, FetchResult]) -> dict[str, int]:
    names = [type(result).__name__ for result in results.values()]
    return {name: names.count(name) for name in sorted(set(names))}


# ------------------------------------------------------------------ no post, in every dialect


@pytest.mark.parametrize(
    "body",
    [
        b'{"posts": []}',
        b'{"posts": null}',
        b'{"posts": {}}',
        b'{"posts": [null]}',
        b'{"posts": {"1": null}}',
        b'{"posts": [], "total": 0, "next": null, "has_more": false, "error": null}',
        b'{"posts": [], "next_cursor": "0", "status": "ok", "code": 0, "errors": []}',
        b'{"posts": [], "meta": {"total": 0, "page": 1, "total_pages": 1}, "success": true}',
        b'{"posts": [], "links": {"self": "/posts", "next": null, "last": "/posts?page=1"}}',
        b'{"posts": [], "_shards": {"total": 5, "failed": 0}, "total": {"value": 0}}',
        b'{"posts": [], "errorCode": "OK", "error": "", "message": "nothing found"}',
        b'{"total": 0}',
        b'{"total": "0", "page": 1}',
        b"[]",
        b"null",
        b"{}",
        b'{"posts": [], "status": 404}',
        b'{"error": {"code": 404, "message": "no such post"}}',
        b"\xef\xbb\xbf[]",
        '{"posts": null}'.encode("utf-16"),
    ],
)
@pytest.mark.parametrize("template", ["/posts?ids={ids}", "/posts/{id}"])
def test_a_post_that_does_not_exist_is_gone_however_that_is_said(
    server: Server, many: Open, body: bytes, template: str
) -> None:
    server.answer = answering(200, body)
    assert kinds(many(template).fetch(["1", "2"])) == {"Gone": 2}
    assert len(server.seen) == (3 if "ids" in template else 2), "alone, each"


def test_no_content_is_no_post(server: Server, many: Open) -> None:
    server.answer = answering(204)
    assert kinds(many().fetch(["1"])) == {"Gone": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("data.items", '{"data": null}'),
        ("data.items", '{"data": []}'),
        ("data.items", '{"data": {}}'),
        ("data.items", '{"data": {"items": null}}'),
        ("data.items", '{"data": {"total": 0}}'),
        ("", "[]"),
        ("", "null"),
        ("nodes", '{"nodes": [null]}'),
    ],
)
def test_no_post_is_found_on_the_way_to_where_posts_should_be(
    server: Server, many: Open, path: str, body: str
) -> None:
    server.answer = answering(200, body.encode())
    assert kinds(many(mapping=PostMapping(posts=path)).fetch(["1"])) == {"Gone": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><form action=/login>", "contains no posts"),
        (b"", "contains no posts"),
        (b'{"error": "database is away"}', "contains no posts"),
        (b'{"posts": "none"}', "contains no posts"),
        (b'{"data": {"posts": []}}', "contains no posts"),
        (b'{"posts": [], "error": "database is away"}', "'error': 'database is away'"),
        (b'{"posts": null, "errors": [{"message": "timeout"}]}', "'errors'"),
        (b'{"posts": [], "success": false}', "failed"),
        (b'{"posts": [], "status": "error"}', "'status': 'error'"),
        (b'{"posts": [], "status": 503}', "'status': 503"),
        (b'{"posts": [], "next": "/posts?page=2"}', "next page"),
        (b'{"posts": [], "links": {"next": {"href": "/posts?page=2"}}}', "next page"),
        (b'{"posts": [], "paging": {"next": "x"}}', "next page"),
        (b'{"posts": [], "response_metadata": {"next_cursor": "x"}}', "next page"),
        (b'{"posts": [], "@odata.nextLink": "x"}', "next page"),
        (b'{"posts": [], "nextPageToken": "x"}', "next page"),
        (b'{"posts": [], "has_more": true}', "more"),
        (b'{"posts": [], "pageInfo": {"hasNextPage": true}}', "more"),
        (b'{"posts": [], "timed_out": true}', "more"),
        (b'{"posts": [], "last": false}', "not all"),
        (b'{"posts": [], "_shards": {"total": 5, "failed": 1}}', "in part"),
        (b'{"posts": [], "total": 1}', "1 posts ('total') and gives 0"),
        (b'{"posts": [], "count": 1}', "1 posts"),
        (b'{"posts": [], "total": {"value": 1, "relation": "eq"}}', "1 posts"),
        (b'{"posts": [], "meta": {"total_count": 1}}', "1 posts"),
        (b'{"posts": [], "page": 1, "total_pages": 3}', "more pages"),
        (b'{"posts": [{"id": 1.0, "text": ""}]}', "1 posts without 'id'"),
        (b'{"posts": [{"post_id": 1, "text": ""}]}', "DEADPAN_SOURCE_FIELDS=id=post_id"),
        (b'{"posts": {"0": {"text": "at a place, not under its id"}}}', "without 'id'"),
        (b'{"posts": [{"id": "001", "text": ""}]}', "'001' is the same as a number"),
        (b'{"posts": [{"id": " 1", "text": ""}]}', "spaces"),
        (b'{"posts": [{"id": "7", "text": ""}]}', "were not asked for, such as '7'"),
    ],
)
def test_an_odd_answer_is_a_fault_of_the_source_with_its_reason(
    server: Server, many: Open, body: bytes, words: str
) -> None:
    server.answer = answering(200, body)
    for ids in (["1"], ["1", "2", "3"]):
        result = failure(many().fetch(ids)["1"])
        assert result.transient
        assert words in result.error
        assert result.error.isprintable()


@pytest.mark.parametrize(
    ("asked", "given", "words"),
    [
        ("1588987262754234369", 1588987262754234400, "rounded or written otherwise"),
        ("1588987262754234369", "1.5889872627542344e+18", "rounded or written otherwise"),
        ("1000000000000000000", "1e18", "rounded or written otherwise"),
        ("aBc", "AbC", "in other letters"),
        ("0f8fad5b-d9cb", "0F8FAD5B-D9CB", "in other letters"),
        ("abc", "t3_abc", "with something before or behind it"),
        ("abc", "abc      ", "with spaces around it"),
    ],
)
def test_an_id_that_comes_back_otherwise_is_named(
    server: Server, many: Open, asked: str, given: object, words: str
) -> None:
    server.answer = lambda handler: handler.json({"posts": [post(given)]})
    assert words in failure(many().fetch([asked])[asked]).error


@pytest.mark.parametrize(
    "headers",
    [
        {"Link": '</posts?page=2>; rel="next"'},
        {"Link": '</a>; rel="prev", </b>; rel=next'},
        {"X_Total_Count": "1"},
        {"X_Next_Page": "2"},
        {"Content_Range": "items 0-0/5"},
    ],
)
def test_headers_that_name_more_posts_keep_a_post_from_being_gone(
    server: Server, many: Open, headers: dict[str, str]
) -> None:
    server.answer = answering(200, b'{"posts": []}', **headers)
    assert failure(many().fetch(["1"])["1"]).transient


def test_a_partial_answer_keeps_a_post_from_being_gone(server: Server, many: Open) -> None:
    server.answer = answering(206, b'{"posts": []}')
    assert "206" in failure(many().fetch(["1"])["1"]).error


# ------------------------------------------------------------------ the shapes of a list


@pytest.mark.parametrize(
    "shape",
    [
        lambda posts: {"posts": posts},
        lambda posts: {"posts": posts, "total": 3, "next": "/posts?page=2"},
        lambda posts: {"posts": {str(at): each for at, each in enumerate(posts) if each}},
        lambda posts: {"posts": {each["id"]: {"text": each["text"]} for each in posts}},
        lambda posts: {each["id"]: {"text": each["text"]} for each in posts},
        lambda posts: {"posts": {each["id"]: each for each in posts}},
        lambda posts: posts,
        lambda posts: {"posts": [None, *posts, None]},
        lambda posts: posts[0] if len(posts) == 1 else {"posts": posts},
        lambda posts: {"posts": posts[0] if len(posts) == 1 else posts},
    ],
)
def test_a_list_of_posts_is_read_in_every_shape(
    server: Server, many: Open, shape: Callable[[list[dict[str, object]]], object]
) -> None:
    server.answer = holding(["1", "3"], shape)
    results = many().fetch(["1", "3"])
    assert [fetched(results[each]).text for each in ("1", "3")] == ["text of 1", "text of 3"]


def test_a_list_with_a_gap_that_became_an_object_is_a_list(server: Server, many: Open) -> None:
    def answer(handler: Handler) -> None:
        ids = asked_ids(handler)
        found = {str(at): post(each) for at, each in enumerate(ids) if each != "2"}
        handler.json({"posts": found})

    server.answer = answer
    results = many().fetch(["1", "2", "3"])
    assert [fetched(results[each]).id for each in ("1", "3")] == ["1", "3"]
    assert isinstance(results["2"], Gone)


def test_names_that_are_places_are_not_taken_for_ids(server: Server, many: Open) -> None:
    server.answer = answering(200, b'{"posts": {"0": {"text": "of 5"}, "1": {"text": "of 6"}}}')
    results = many().fetch(["1", "5"])
    assert kinds(results) == {"FetchFailure": 2}


# ------------------------------------------------------------------ pages


def cut(
    handler: Handler, *, posts: int | None = None, ids: int | None = None, more: bool = False
) -> None:
    """An answer of at most so many posts, by a platform that reads at most so many ids."""
    found = [post(each) for each in asked_ids(handler)[:ids] if each in HERE]
    told = {"has_more": len(found) > (posts or 0), "total": len(found)} if more else {}
    handler.json({"posts": found[:posts], **told})


@pytest.mark.parametrize(
    "page",
    [
        {"posts": 20, "more": True},
        {"posts": 20},
        {"ids": 20},
        {"posts": 1},
        {"ids": 1},
        {"posts": 7, "ids": 9},
    ],
)
def test_a_source_that_gives_pages_is_asked_for_less_and_every_post_is_found(
    server: Server, many: Open, page: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda handler: cut(handler, **page)
    source = many()
    with caplog.at_level(logging.WARNING):
        results = source.fetch([*HERE, "deleted-1", "deleted-2"])
    assert kinds(results) == {"FetchedPost": 50, "Gone": 2}
    assert "at most" in caplog.text
    server.seen.clear()
    assert kinds(source.fetch(HERE)) == {"FetchedPost": 50}
    most = min(page.get("posts", 50), page.get("ids", 50))
    assert len(server.seen) <= -(-50 // most), "what it takes is known by now"


def test_many_deleted_posts_cost_few_requests_once_the_source_is_known(
    server: Server, many: Open
) -> None:
    server.answer = holding(HERE, lambda posts: {"posts": posts})
    source = many()
    deleted = [f"deleted-{number}" for number in range(64)]
    assert kinds(source.fetch(deleted)) == {"Gone": 64}
    assert len(server.seen) == 65, "nothing is known of it yet: each alone"
    source.fetch(HERE)
    server.seen.clear()
    assert kinds(source.fetch(deleted)) == {"Gone": 64}
    assert len(server.seen) == 3, "all together, then beside a post that is known"
    server.seen.clear()
    assert kinds(source.fetch([*HERE[:40], *deleted[:10]])) == {"FetchedPost": 40, "Gone": 10}
    assert len(server.seen) == 2


def test_one_id_that_empties_an_answer_takes_no_other_post_with_it(
    server: Server, many: Open
) -> None:
    def answer(handler: Handler) -> None:
        ids = asked_ids(handler)
        spoilt = len(ids) > 1 and "bad" in ids
        handler.json({"posts": [post(each) for each in ids if each in HERE and not spoilt]})

    server.answer = answer
    source = many()
    source.fetch(HERE)
    results = source.fetch([*HERE[:20], "bad", *HERE[20:40]])
    assert kinds(results) == {"FetchedPost": 40, "Gone": 1}


def test_a_known_post_that_was_deleted_since_proves_nothing(server: Server, many: Open) -> None:
    server.answer = holding(HERE, lambda posts: {"posts": posts})
    source = many()
    source.fetch(HERE)
    server.answer = lambda handler: cut(handler, posts=0)
    server.seen.clear()
    assert kinds(source.fetch(["d1", "d2", "d3", HERE[-1]])) == {"Gone": 4}
    assert [len(asked.split(",")) for asked in server.paths] == [4, 1, 1, 1, 1]


def test_what_was_seen_long_ago_is_no_proof() -> None:
    now = 0.0
    absence = Absence(64, source="the source", clock=lambda: now)
    absence.weigh(Question(("1", "2", "3", "4")), Answer(tuple((each, {}) for each in "1234")))
    deleted = Question(("a", "b", "c"))
    assert absence.weigh(deleted, Answer(())).again == [Question(("a", "b", "c"), 0, "4")]
    now = 61.0
    assert absence.weigh(deleted, Answer(())).again == [Question((each,), 0) for each in "abc"]


def test_a_source_that_answers_one_id_alone_is_asked_so(server: Server, many: Open) -> None:
    def answer(handler: Handler) -> None:
        ids = asked_ids(handler)
        handler.json({"posts": [post(ids[0])] if len(ids) == 1 else []})

    server.answer = answer
    source = many()
    assert kinds(source.fetch(HERE)) == {"FetchedPost": 50}
    server.seen.clear()
    assert kinds(source.fetch(HERE)) == {"FetchedPost": 50}
    assert len(server.seen) < 60


def test_a_source_that_answers_more_again_is_asked_for_more(server: Server, many: Open) -> None:
    server.answer = lambda handler: cut(handler, posts=1)
    source = many()
    source.fetch(HERE)
    server.answer = platform
    for _ in range(10):
        source.fetch(HERE)
    server.seen.clear()
    source.fetch(HERE)
    assert len(server.seen) < 10


# ------------------------------------------------------------------ whatever the answer


@dataclass(frozen=True)
class Made:
    """A platform as chance made it.

    Attributes:
        here: which of the ids exist.
        page: posts an answer, at most; and whether it says that there are more.
        reads: ids of a request, at most; and what it answers to more: a part, nothing, or a status.
        spoil: what becomes of the ids of some posts.
        shape: of a list of posts.
        none: how no posts are written.
        poison: ids that empty the answer to all that are asked for with them.
    """

    here: frozenset[int]
    page: int | None
    tells: str
    reads: int | None
    beyond: str
    spoil: str
    spoilt: frozenset[int]
    shape: str
    none: str
    backwards: bool
    poison: frozenset[int]

    def answer(self, handler: Handler) -> None:
        ids = [unquote(each) for each in asked_ids(handler)]
        if self.reads is not None and len(ids) > self.reads:
            if self.beyond == "nothing":
                return handler.json({"posts": []})
            if self.beyond in ("400", "404", "414"):
                return handler.reply(int(self.beyond))
            ids = ids[: self.reads]
        if len(ids) > 1 and self.poison & set(map(index, ids)):
            return handler.reply(200, b'{"posts": []}')
        found = [self.spoiled(each) for each in ids if index(each) in self.here]
        found = found[::-1] if self.backwards else found
        taken = found[: self.page]
        told: dict[str, object] = {}
        if len(taken) < len(found):
            told = {"more": {"has_more": True}, "total": {"total": len(found)}}.get(self.tells, {})
        if not taken:
            if self.none == "204":
                return handler.reply(204)
            return handler.reply(200, self.none.encode())
        if self.shape == "object":
            return handler.json({"posts": {str(n): each for n, each in enumerate(taken)}, **told})
        if self.shape == "single" and len(taken) == 1:
            return handler.json(taken[0])
        if self.shape == "bare":
            return handler.json(taken)
        return handler.json({"posts": taken, **told})

    def spoiled(self, post_id: str) -> dict[str, object]:
        if index(post_id) not in self.spoilt or self.spoil == "no":
            return post(post_id)
        changed: dict[str, object] = {
            "rounded": float(post_id),
            "float": int(float(post_id)),
            "padded": f"000{post_id}",
            "spaced": f"{post_id}  ",
            "prefixed": f"t3_{post_id}",
            "null": None,
        }
        if self.spoil == "named":
            return {"post_id": post_id, "text": "x"}
        return post(changed[self.spoil])


FIRST = 1588987262754234301


def index(post_id: str) -> int:
    return int(post_id) - FIRST


SOME = st.frozensets(st.integers(0, 23))
MADE = st.builds(
    Made,
    here=SOME,
    page=st.none() | st.integers(1, 12),
    tells=st.sampled_from(["no", "more", "total"]),
    reads=st.none() | st.integers(1, 12),
    beyond=st.sampled_from(["part", "nothing", "400", "404", "414"]),
    spoil=st.sampled_from(
        ["no", "rounded", "float", "padded", "spaced", "prefixed", "null", "named"]
    ),
    spoilt=SOME,
    shape=st.sampled_from(["list", "object", "single", "bare"]),
    none=st.sampled_from(['{"posts": []}', '{"posts": null}', "[]", "{}", "null", "204"]),
    backwards=st.booleans(),
    poison=st.just(frozenset()) | st.frozensets(st.integers(0, 23), max_size=2),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=MADE, order=st.permutations(range(24)))
def test_whatever_the_answers_a_post_that_exists_is_never_gone(
    made: Made, order: list[int]
) -> None:
    ids = [str(FIRST + number) for number in order]
    with serving() as server:
        server.answer = made.answer
        source = HttpSource(f"{server.url}/posts?ids={{ids}}", timeout_seconds=20)
        try:
            for _ in range(2):  # with what was learnt, too
                results = source.fetch(ids)
                for post_id, result in results.items():
                    if index(post_id) not in made.here:
                        assert not isinstance(result, FetchedPost)
                    elif made.spoil == "no" or index(post_id) not in made.spoilt:
                        assert isinstance(result, FetchedPost), result
                    else:
                        assert isinstance(result, FetchFailure), result
                        assert result.transient
                if made.spoil == "no":
                    gone = {index(each) for each in ids if isinstance(results[each], Gone)}
                    assert gone == set(range(24)) - made.here
        finally:
            source.close()


def test_an_answer_cut_within_a_letter_loses_that_letter_alone(server: Server, many: Open) -> None:
    def answer(handler: Handler) -> None:
        body = json.dumps({"posts": [post(each) for each in asked_ids(handler)]}).encode()
        handler.reply(200, body.replace(b"text of 2", b"half a \xf0\x9f\x98"))

    server.answer = answer
    results = many().fetch(["1", "2", "3"])
    assert [fetched(results[each]).text for each in "123"] == [
        "text of 1",
        "half a �",
        "text of 3",
    ]


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("utf-8", "application/json"),
        ("utf-8-sig", "application/json"),
        ("utf-16", "application/json"),
        ("utf-16-le", "application/json; charset=utf-16le"),
        ("utf-32", ""),
        ("iso-8859-15", "application/json; charset=ISO-8859-15"),
        ("utf-8", "application/json; charset=iso-8859-1"),
        ("utf-8", "application/json; charset=no-such"),
        ("utf-8", "application/json; charset=hex"),
        ("cp1252", 'text/html; charset="windows-1252"'),
    ],
)
def test_an_answer_is_read_in_its_encoding(
    server: Server, many: Open, encoding: str, content_type: str
) -> None:
    body = '{"posts": [{"id": "1", "text": "5 € a day"}]}'.encode(encoding)
    server.answer = answering(200, body, Content_Type=content_type)
    assert fetched(many().fetch(["1"])["1"]).text == "5 € a day"


def test_line_breaks_and_nuls_that_json_does_not_allow_are_read(server: Server, many: Open) -> None:
    server.answer = answering(200, b'{"posts": [{"id": "1", "text": "two\nlines\t\x00"}]}')
    assert fetched(many().fetch(["1"])["1"]).text == "two\nlines\t\0"
