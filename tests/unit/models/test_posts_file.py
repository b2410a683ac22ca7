"""Labelled posts: every problem at once, with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deadpan.core.errors import DataError
from models.data.posts_file import read_posts


def write(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_label_that_is_missing_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    file = read_posts(
        write(
            tmp_path / "posts.jsonl",
            {"id": "1", "text": "a", "images": ["a.jpg"], "sentiment": "neutral", "conflict": True},
            "",
            {"id": "2", "text": "b", "sarcastic": False},
        )
    )
    assert [(post.sentiment, post.sarcastic) for post in file.posts] == [
        ("neutral", None),
        (None, False),
    ]
    assert file.posts[0].images == ((tmp_path / "a.jpg").resolve(),)


def test_all_problems_are_listed_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"x")
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(
        folder / "posts.jsonl",
        {"id": "1", "text": "fine"},
        "{not json",
        "[]",
        {"text": "no id"},
        {"id": "5"},
        {"id": "1", "text": "again"},
        {"id": "7", "text": "a", "sentiment": "happy"},
        {"id": "8", "text": "a", "sarcastic": 1},
        {"id": "9", "text": "a", "images": ["missing.jpg"]},
        {"id": "10", "text": "a", "images": ["../outside.jpg"]},
        {"id": "11", "text": "a", "images": "a.jpg"},
        {"id": 12.5, "text": 12, "images": 12},
    )
    with pytest.raises(DataError) as caught:
        read_posts(path)
    lines = [int(problem.split(":")[1]) for problem in caught.value.problems]
    assert lines == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12]
    assert "already in line 1" in caught.value.problems[4]
    assert "'happy'" in caught.value.problems[5]
    assert "outside" in caught.value.problems[8]


def test_a_post_without_anything_is_skipped_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", {"id": "1", "text": " "}, {"id": "2", "text": "b"})
    file = read_posts(path)
    assert [post.id for post in file.posts] == ["2"]
    assert "'1' has neither words nor pictures" in file.warnings[0]


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_a_file_that_is_missing_or_holds_no_post_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "posts.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"posts\.jsonl"):
        read_posts(path)


def test_thousands_of_problems_are_cut_to_a_readable_list(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", *["nonsense"] * 1000)
    with pytest.raises(DataError, match="and 950 more problems"):
        read_posts(path)
