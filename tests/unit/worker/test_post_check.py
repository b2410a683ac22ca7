"""`deadpan check --post ID` shows what is read of a post, and what was most likely overlooked."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from deadpan.cli import app
from sources.look import overlooked
from sources.mapping import PostMapping
from tests.unit.sources.source_server import Handler, Server, asked_ids, serving
from worker.post_check import _made_up


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Has what a test puts into `posts`, and a picture behind a redirect."""
    with serving() as server:
        monkeypatch.setenv("DEADPAN_SOURCE", f"{server.url}/posts?ids={{ids}}")
        monkeypatch.setenv("DEADPAN_ALLOW_PRIVATE_ADDRESSES", "127.0.0.0/8")
        yield server


def has(server: Server, **posts: dict[str, Any]) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/old.jpg":
            handler.reply(302, Location="/new.jpg")
        elif handler.path == "/new.jpg":
            handler.reply(200, picture(), Content_Type="application/octet-stream")
        elif handler.path.startswith("/posts"):
            found = [posts[each] for each in asked_ids(handler) if each in posts]
            handler.json({"posts": found})
        else:
            handler.reply(404)

    server.answer = answer


def check(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["check", "--post", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_a_post_is_shown_field_by_field(platform: Server) -> None:
    has(
        platform,
        a1={
            "id": "a1",
            "text": "My kitchen is flooded.",
            "images": ["/old.jpg", "/missing.jpg"],
            "author": "ann",
            "created_at": 1767268800,
        },
    )
    code, told = check("a1")
    assert code == 0
    assert told["outcome"] == "read"
    assert told["fields"] == {
        "text": "My kitchen is flooded.",
        "author": "ann",
        "created_at": "2026-01-01T12:00:00+00:00",
        "language": None,
    }
    first, second = told["images"]
    assert first == {
        "address": f"{platform.url}/old.jpg",
        "final_url": f"{platform.url}/new.jpg",
        "bytes": len(picture()),
        "format": "JPEG",
        "width": 64,
        "height": 48,
        "problem": None,
    }
    assert "404" in second["problem"]
    assert told["asked_together"]["outcome"] == "gone"
    assert told["warnings"] == []
    shown = CliRunner().invoke(app, ["check", "--post", "a1"]).stdout
    for words in (
        "22 characters: 'My kitchen is flooded.'",
        "JPEG, 64 x 48 pixels",
        "from http://",
    ):
        assert words in shown


def test_what_was_overlooked_is_named_with_the_setting_that_mends_it(
    platform: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = {
        "id": "a1",
        "text": "",
        "body": {"plain": "My kitchen is flooded."},
        "attachments": [{"kind": "photo", "link": "/old.jpg"}],
        "created_at": "soon",
    }
    has(platform, a1=post)
    code, told = check("a1")
    assert code == 0
    warnings = "\n".join(told["warnings"])
    for words in (
        "created_at is 'soon', which is not a time",
        "DEADPAN_SOURCE_FIELDS=text=body.plain",
        "DEADPAN_SOURCE_FIELDS=images=attachments.*.link",
    ):
        assert words in warnings
    fields = "text=body.plain,images=attachments.*.link,author=user.name"
    monkeypatch.setenv("DEADPAN_SOURCE_FIELDS", fields)
    code, told = check("a1")
    assert told["fields"]["text"] == "My kitchen is flooded."
    assert told["images"][0]["format"] == "JPEG"
    assert "DEADPAN_SOURCE_FIELDS says author=user.name, and nothing is there" in told["warnings"]


def test_a_post_without_the_text_field_says_where_the_text_may_be(platform: Server) -> None:
    has(platform, a1={"id": "a1", "caption": "My kitchen is flooded."})
    code, told = check("a1")
    assert (code, told["outcome"], told["transient"]) == (1, "failed", False)
    assert "field 'text' is missing" in told["error"]
    assert "DEADPAN_SOURCE_FIELDS=text=caption" in told["warnings"][0]


def test_an_id_that_comes_back_otherwise_is_said(platform: Server) -> None:
    platform.answer = lambda handler: handler.json({"posts": [{"id": "A1", "text": "x"}]})
    code, told = check("a1")
    assert (code, told["outcome"]) == (1, "failed")
    assert "'A1' is the same in other letters" in told["error"]


def test_a_source_that_answers_several_ids_otherwise_than_one_is_said(platform: Server) -> None:
    def answer(handler: Handler) -> None:
        ids = asked_ids(handler)
        if len(ids) > 1:
            handler.json({"error": "one id, please"})
        elif ids == ["a1"]:
            handler.json({"posts": [{"id": "a1", "text": "x"}]})
        else:
            handler.json({"error": "no such post"})

    platform.answer = answer
    code, told = check("a1")
    assert (code, told["outcome"]) == (0, "read")
    warnings = "\n".join(told["warnings"])
    assert "asked for together with another id, the post is not read" in warnings
    assert "deleted posts would become dead letters" in warnings


def test_a_post_that_is_gone_or_a_source_that_is_wrong_ends_in_an_error(
    platform: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(platform)
    assert check("a1")[0] == 1
    assert check("a1")[1]["outcome"] == "gone"
    monkeypatch.setenv("DEADPAN_SOURCE", "nonsense")
    done = CliRunner().invoke(app, ["check", "--post", "a1"])
    assert done.exit_code != 0


@pytest.mark.parametrize(
    ("post", "wanted"),
    [
        ({"id": "1", "text": "fine", "images": ["a.jpg"], "body": "another text of this post"}, []),
        ({"id": "1", "text": "", "title": "hello"}, ["text=title"]),
        ({"id": "1", "text": None, "x": "four words and more"}, ["text=x"]),
        ({"id": "1", "text": "fine", "photo": "https://a.example/1"}, ["images=photo"]),
        ({"id": "1", "text": "fine", "files": ["b.png"]}, ["images=files"]),
        ({"id": "1", "text": "fine", "a": {"b": [{"c": "x/b.webp?s=1"}]}}, ["images=a.b.*.c"]),
        ({"id": "1", "text": "fine", "profile": "https://a.example/ann"}, []),
        ({"id": "1", "text": "fine", "published": "2026-01-01"}, ["created_at=published"]),
        ({"id": "1", "text": "fine", "user": {"id": 7, "likes": 3}}, ["author=user.id"]),
        ({"id": "1", "text": "fine", "likes": 3, "lang": "de", "by_admin": True}, []),
    ],
)
def test_only_what_looks_like_the_missing_field_is_named(
    post: dict[str, Any], wanted: list[str]
) -> None:
    found = overlooked(post, PostMapping())
    assert len(found) == len(wanted)
    for sentence, words in zip(found, wanted, strict=True):
        assert f"DEADPAN_SOURCE_FIELDS={words}" in sentence


@pytest.mark.parametrize("value", [None, 5, "text", [1], {"": {"": ""}}, {"a.b": "c"}, [[[]]]])
def test_nothing_is_overlooked_in_what_is_no_post(value: object) -> None:
    assert isinstance(overlooked(value, PostMapping()), list)


@pytest.mark.parametrize("post_id", ["1", "12345678901", "abc", "t3_x9", "ü", "-"])
def test_a_made_up_id_looks_like_the_real_one_and_is_another(post_id: str) -> None:
    for _ in range(20):
        made = _made_up(post_id)
        assert made != post_id
        assert made.isdigit() == post_id.isdigit()
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert len(_made_up(uuid)) == len(uuid)
    assert _made_up(uuid) != uuid
