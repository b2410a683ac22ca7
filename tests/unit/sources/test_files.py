"""A JSONL file as a post source."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deadpan.core.errors import SettingsError
from sources.files import FileSource
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedImage, FetchedPost, FetchFailure, Gone, Post
from tests.unit.sources.source_server import PNG, Server

Opened = Callable[..., FileSource]


@pytest.fixture
def opened(tmp_path: Path, limits: ImageLimits) -> Iterator[Opened]:
    """Writes lines to a file in a folder of its own and opens it."""
    sources: list[FileSource] = []

    def write(*lines: object, **arguments: object) -> FileSource:
        folder = tmp_path / "posts"
        folder.mkdir(exist_ok=True)
        written = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (folder / "posts.jsonl").write_bytes(b"\n".join(written))
        given: dict[str, object] = {"limits": limits, **arguments}
        sources.append(FileSource(folder / "posts.jsonl", **given))  # type: ignore[arg-type]
        return sources[-1]

    yield write
    for source in sources:
        source.close()


def images_of(source: FileSource, post_id: str = "1") -> tuple[FetchedImage, ...]:
    result = source.fetch([post_id])[post_id]
    assert isinstance(result, FetchedPost), result
    return result.images


def test_posts_are_found_by_id_and_labels_are_ignored(opened: Opened) -> None:
    source = opened(
        {"id": "1", "text": "one", "sentiment": "negative", "sarcastic": True},
        {"id": 2, "text": "zwei \u00e9\u4e2d", "author": "ann"},
        {"id": "3", "text": "three"},
    )
    results = source.fetch(["2", "1", "absent"])
    assert list(results) == ["2", "1", "absent"]
    assert results["2"] == FetchedPost(Post("2", "zwei \u00e9\u4e2d", author="ann"))
    assert results["1"] == FetchedPost(Post("1", "one"))
    assert isinstance(results["absent"], Gone)


def test_images_are_read_from_the_files_folder(opened: Opened, tmp_path: Path) -> None:
    source = opened({"id": "1", "text": "", "images": ["a.png", "sub/b.png", "./sub/../a.png"]})
    (tmp_path / "posts" / "sub").mkdir()
    (tmp_path / "posts" / "a.png").write_bytes(PNG)
    (tmp_path / "posts" / "sub" / "b.png").write_bytes(b"b")
    assert [image.content for image in images_of(source)] == [PNG, b"b", PNG]


def test_images_outside_the_files_folder_are_not_read(opened: Opened, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    source = opened(
        {"id": "1", "text": "", "images": ["../secret.png", str(secret), "link", "/etc/passwd"]}
    )
    (tmp_path / "posts" / "link").symlink_to(secret)
    for image in images_of(source):
        assert image.content is None
        assert image.problem == "the image path leaves the posts' folder"


def test_what_is_no_image_file_is_a_problem_in_words(opened: Opened, tmp_path: Path) -> None:
    source = opened(
        {"id": "1", "text": "", "images": ["absent", ".", "pipe", "nul\x00", "empty", "x" * 5000]}
    )
    os.mkfifo(tmp_path / "posts" / "pipe")
    (tmp_path / "posts" / "empty").touch()
    for image in images_of(source):
        assert image.content is None
        assert "the image" in (image.problem or "")
        assert not image.transient


def test_an_image_file_larger_than_allowed_is_not_taken(opened: Opened, tmp_path: Path) -> None:
    line = {"id": "1", "text": "", "images": ["a.png"]}
    source = opened(line, limits=ImageLimits(max_bytes=10))
    (tmp_path / "posts" / "a.png").write_bytes(b"0" * 11)
    assert images_of(source)[0].problem == "the image is larger than 10 bytes"
    (tmp_path / "posts" / "a.png").write_bytes(b"0" * 10)
    assert images_of(source)[0].content == b"0" * 10


def test_web_addresses_in_a_file_are_downloaded_with_the_same_care(
    opened: Opened, server: Server
) -> None:
    server.answer = lambda handler: handler.reply(200, PNG)
    urls = [f"{server.url}/a.png", "http://10.0.0.1/", "data:image/png;base64,AA=="]
    images = images_of(opened({"id": "1", "text": "", "images": [*urls, "file:///etc/passwd"]}))
    assert [image.content for image in images] == [PNG, None, None, None]
    assert "private network" in (images[1].problem or "")


def test_a_wrong_line_fails_its_own_post_only(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = opened(
            {"id": "1", "text": 5},
            b"{ this is not JSON",
            b"",
            {"text": "without id"},
            b"[" * 100_000,
            b"\xff\xfe",
            {"id": "2", "text": "two"},
        )
    results = source.fetch(["1", "2"])
    failure = results["1"]
    assert isinstance(failure, FetchFailure)
    assert not failure.transient
    assert "line 1: field 'text' is a number" in failure.error
    assert results["2"] == FetchedPost(Post("2", "two"))
    assert "4 lines have no post" in caplog.text
    absent = source.fetch(["3"])["3"]
    assert isinstance(absent, FetchFailure), "it may stand in one of those lines"
    assert "4 lines without a post with field 'id', the first in line 2" in absent.error


def test_a_line_without_end_is_left_out(opened: Opened) -> None:
    source = opened(
        {"id": "1", "text": "a" * 9_000_000}, {"id": "2", "text": "two"}, {"id": "3", "text": ""}
    )
    results = source.fetch(["1", "2", "3"])
    assert isinstance(results["1"], FetchFailure)
    assert results["2"] == FetchedPost(Post("2", "two"))
    assert results["3"] == FetchedPost(Post("3", ""))


def test_the_first_of_two_lines_with_one_id_wins(opened: Opened) -> None:
    source = opened({"id": "1", "text": "first"}, {"id": "1", "text": "second"})
    assert source.fetch(["1"])["1"] == FetchedPost(Post("1", "first"))


def test_a_file_that_was_changed_is_read_again(opened: Opened, tmp_path: Path) -> None:
    source = opened({"id": "1", "text": "first"}, {"id": "2", "text": "second"})
    path = tmp_path / "posts" / "posts.jsonl"
    with path.open("a") as file:
        file.write('\n{"id": "3", "text": "appended"}')
    assert source.fetch(["3"])["3"] == FetchedPost(Post("3", "appended"))
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "4", "text": "in its place"}\n')
    other.replace(path)
    being_written = source.fetch(["2"])["2"]
    assert isinstance(being_written, FetchFailure)
    assert being_written.transient
    assert "a moment ago" in being_written.error
    os.utime(path, (1, 1))
    results = source.fetch(["2", "4"])
    assert isinstance(results["2"], Gone)
    assert results["4"] == FetchedPost(Post("4", "in its place"))


def test_a_file_that_is_away_for_a_while_makes_no_post_gone(opened: Opened, tmp_path: Path) -> None:
    source = opened({"id": "1", "text": "first"})
    path = tmp_path / "posts" / "posts.jsonl"
    path.rename(tmp_path / "elsewhere")
    for post_id in ("1", "2"):
        result = source.fetch([post_id])[post_id]
        assert isinstance(result, FetchFailure)
        assert result.transient
    (tmp_path / "elsewhere").rename(path)
    assert source.fetch(["1"])["1"] == FetchedPost(Post("1", "first"))


@pytest.mark.parametrize("name", ["absent.jsonl", "", "nul\x00.jsonl"])
def test_a_file_that_is_not_there_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="DEADPAN_SOURCE"):
        FileSource(f"{tmp_path}/{name}")
