"""Answers that are not as they should be: no posts, wrong fields, strange texts."""

from __future__ import annotations

import json

import pytest

from sources.mapping import PostMapping
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedPost
from tests.unit.sources.source_answers import Open, answering, failure, fetched
from tests.unit.sources.source_server import Server, post


@pytest.mark.parametrize(
    "body",
    [
        b"<html><title>502 Bad Gateway</title>\x1b[31m</html>",
        b'{"posts": [{"id": "1", "te',
        b"",
        b'"posts"',
        b"true",
        b'{"error": "try again"}',
        b'{"error": {"message": "try again"}}',
        b'{"data": [{"id": "1"}]}',
        b'{"posts": "1"}',
        b'{"posts": false}',
        b'{"posts": {"text": "without id"}}',
        b"[" * 200_000,
        b'{"posts": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"posts": [{"id": ' + b"9" * 10_000 + b"}]}",
        b"\xff\xfe\x00",
    ],
)
def test_an_answer_that_holds_no_posts_is_asked_for_again_later(
    server: Server, many: Open, body: bytes
) -> None:
    server.answer = answering(200, body, Content_Type="text/html")
    result = failure(many().fetch(["1"])["1"])
    assert (result.transient, result.outage) == (True, True)
    assert result.error.isprintable()
    assert len(result.error) < 400


def test_a_page_of_a_proxy_is_shown_in_the_error(server: Server, many: Open) -> None:
    page = b"<html>\n<title>Gateway\x00</title>" + b"x" * 1000
    server.answer = answering(200, page, Content_Type="text/html")
    error = failure(many().fetch(["1"])["1"]).error
    assert "'text/html'" in error
    assert r"<html>\n<title>Gateway\x00</title>" in error


def test_posts_nobody_asked_for_are_ignored(server: Server, many: Open) -> None:
    crowd = b",".join(b'{"id":%d,"text":""}' % number for number in range(1_000_000))
    server.answer = answering(200, b'{"posts":[' + crowd + b"]}")
    results = many(timeout_seconds=60.0).fetch(["999999", "7"])
    assert fetched(results["999999"]).id == "999999"
    assert len(results) == 2


def test_the_first_of_two_posts_with_one_id_wins(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json(
        {"posts": [post("1", text="first"), post("1", text="second"), post("1", text=3)]}
    )
    assert fetched(many().fetch(["1"])["1"]).text == "first"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text": 5}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": True}, "text"),
        ({"images": {"thumbnail": "a"}}, "images"),
        ({"images": {"url": "a", "href": "b"}}, "images"),
        ({"images": [1]}, "images"),
        ({"images": [["a"]]}, "images"),
        ({"images": 7}, "images"),
        ({"author": {"name": "ann"}}, "author"),
        ({"author": 1.5}, "author"),
    ],
)
def test_a_field_of_the_wrong_type_fails_its_own_post_only(
    server: Server, many: Open, fields: dict[str, object], name: str
) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", **fields), post("2")]})
    results = many().fetch(["1", "2"])
    assert not failure(results["1"]).transient
    assert f"'{name}'" in failure(results["1"]).error
    assert fetched(results["2"]).id == "2"


def test_a_post_without_text_is_a_failure_and_not_an_empty_post(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": [{"id": "1", "body": "hello"}]})
    assert "field 'text' is missing" in failure(many().fetch(["1"])["1"]).error


def test_a_post_that_may_be_among_those_without_an_id_is_not_called_gone(
    server: Server, many: Open
) -> None:
    for nameless in ({"id": None, "text": ""}, {"text": ""}, 5, {"id": True}, {"id": 1.0}):
        server.answer = lambda handler, each=nameless: handler.json({"posts": [each, post("2")]})
        results = many().fetch(["1", "2"])
        assert failure(results["1"]).transient
        assert fetched(results["2"]).id == "2"


def test_another_post_than_the_one_asked_for_is_not_taken_for_it(
    server: Server, single: Open
) -> None:
    server.answer = lambda handler: handler.json(post("7"))
    assert not isinstance(single().fetch(["007"])["007"], FetchedPost)


@pytest.mark.parametrize("text", ["", "nul \x00 inside", "half \ud800 a pair", "\u202e", "a" * 999])
def test_strange_text_passes_unchanged(server: Server, many: Open, text: str) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", text=text)]})
    assert fetched(many().fetch(["1"])["1"]).text == text


def test_text_and_lists_of_images_have_an_end(server: Server, many: Open) -> None:
    huge = post("1", text="a" * 2_000_000, images=["http://a.example/"] * 5000, author="b" * 9999)
    server.answer = lambda handler: handler.json({"posts": [huge]})
    result = many(limits=ImageLimits(max_images=0)).fetch(["1"])["1"]
    assert len(fetched(result).text) == 1024 * 1024
    assert len(fetched(result).images) == 100
    assert len(fetched(result).author or "") == 256


@pytest.mark.parametrize("value", ["yesterday", 5, [], "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_read_is_no_time_and_said(
    server: Server, many: Open, value: object
) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", created_at=value)]})
    found = fetched(many().fetch(["1"])["1"])
    assert found.created_at is None
    assert found.unreadable == (f"created_at is {value!r}, which is not a time",)


@pytest.mark.parametrize("value", ["", None])
def test_no_time_is_no_fault(server: Server, many: Open, value: object) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", created_at=value)]})
    found = fetched(many().fetch(["1"])["1"])
    assert (found.created_at, found.unreadable) == (None, ())


def test_a_mapped_field_that_a_post_has_not_is_noted(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", body="words", media=[])]})
    fields = ["text=body", "images=media.*.url", "author=user.name", "posts=posts"]
    found = fetched(many(mapping=PostMapping.parse(fields)).fetch(["1"])["1"])
    assert found.text == "words"
    assert found.absent == ("images", "author")


@pytest.mark.parametrize("value", [None, 7, "", "x" * 36, ["de"]])
def test_a_language_that_is_no_tag_is_left_out(server: Server, many: Open, value: object) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", language=value)]})
    assert fetched(many().fetch(["1"])["1"]).language is None


def test_the_answer_may_be_a_million_characters_of_anything(server: Server, many: Open) -> None:
    server.answer = answering(200, json.dumps({"posts": ["x" * 1_000_000]}).encode())
    assert failure(many().fetch(["1"])["1"]).transient
