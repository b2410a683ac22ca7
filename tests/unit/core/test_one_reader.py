"""A post is the same to every reader: HTTP, database and file sources, labelled files, the demo."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from deadpan.demo.platform import SamplePlatform
from models.data.posts_file import read_posts
from sources.database import DatabaseSource
from sources.files import FileSource
from sources.http import HttpSource
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedPost
from sources.source import PostSource
from tests.unit.sources.source_server import LOOPBACK, serving

PIXEL = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc"
    b"\xf8\xff\xff\xff\x7f\0\t\xfb\x03\xfd\x05CE\xca\0\0\0\0IEND\xaeB`\x82"
)
POSTS: list[tuple[dict[str, Any], str, str, int]] = [
    ({"id": 1, "text": "a fine day"}, "1", "a fine day", 0),
    ({"id": "2", "text": "an awful day", "images": "p/1.png"}, "2", "an awful day", 1),
    ({"id": "3", "text": None, "images": ["p/1.png"]}, "3", "", 1),
    ({"id": "4", "text": "x", "images": None}, "4", "x", 0),
    ({"id": "5", "text": "x", "images": ""}, "5", "x", 0),
    ({"id": "6", "text": "x", "images": ["", None, " "]}, "6", "x", 0),
    ({"id": "7", "text": "x", "images": [None, "p/1.png", ""]}, "7", "x", 1),
    ({"id": "8", "text": "x", "images": {"url": "p/1.png"}}, "8", "x", 1),
    ({"id": "9", "text": "x", "images": [{"src": "p/1.png"}, {"url": None}]}, "9", "x", 1),
    ({"id": "10", "text": "x", "images": {"1": "p/1.png"}}, "10", "x", 1),
    ({"id": "11", "text": "x", "images": False}, "11", "x", 0),
    ({"id": "12", "text": "x", "images": " p/1.png\n"}, "12", "x", 1),
    ({"id": "13", "text": "x", "images": '["p/1.png"]'}, "13", "x", 1),
    ({"id": "14", "text": "x", "images": [], "author": 7, "language": 5}, "14", "x", 0),
]
WANTED = [(post_id, text, images) for _, post_id, text, images in POSTS]
IDS = [post_id for _, post_id, _, _ in POSTS]
LIMITS = ImageLimits(allowed_networks=LOOPBACK)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The posts as a file, with sentiments."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1.png").write_bytes(PIXEL)
    path = tmp_path / "posts.jsonl"
    lines = [json.dumps({**post, "sentiment": "neutral"}) for post, *_ in POSTS]
    path.write_text("\n".join(lines))
    return path


def read(source: PostSource) -> list[tuple[str, str, int]]:
    results = source.fetch(IDS)
    source.close()
    found = []
    for post_id in IDS:
        result = results[post_id]
        assert isinstance(result, FetchedPost), result
        assert [image.content for image in result.images] == [PIXEL] * len(result.images)
        found.append((result.post.id, result.post.text, len(result.images)))
    return found


def test_a_file_as_a_source(path: Path) -> None:
    assert read(FileSource(path)) == WANTED


def test_a_labelled_file(path: Path) -> None:
    posts = [(post.id, post.text, len(post.images)) for post in read_posts(path).posts]
    assert posts == WANTED


def test_the_demos_platform(path: Path) -> None:
    with SamplePlatform(path) as platform:
        assert platform.post_ids == tuple(IDS)
        assert read(HttpSource(platform.source, limits=LIMITS)) == WANTED


def test_an_http_source() -> None:
    with serving() as server:
        server.answer = lambda handler: (
            handler.reply(200, PIXEL)
            if handler.path.startswith("/p/")
            else handler.json({"posts": [post for post, *_ in POSTS]})
        )
        assert read(HttpSource(f"{server.url}/?ids={{ids}}", limits=LIMITS)) == WANTED


def test_a_database(tmp_path: Path) -> None:
    with serving() as server:
        server.answer = lambda handler: handler.reply(200, PIXEL)
        database = sqlite3.connect(tmp_path / "platform.db")
        database.execute("CREATE TABLE posts (id, text, images)")
        for post, *_ in POSTS:
            images = post.get("images")
            if images is False or isinstance(images, list | dict):
                images = json.dumps(images)
            if images is not None:
                images = images.replace("p/1.png", f"{server.url}/p/1.png")
            row = (str(post["id"]), post["text"], images)
            database.execute("INSERT INTO posts VALUES (?, ?, ?)", row)
        database.commit()
        database.close()
        query = "SELECT id, text, images FROM posts WHERE id IN :ids"
        source = DatabaseSource(f"sqlite:///{tmp_path}/platform.db", query, limits=LIMITS)
        assert read(source) == WANTED
