"""Public data sets in their own layouts, and our tables: made up here, as small as they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.mvsa import decode_mvsa_text
from models.data.posts_file import read_posts
from models.data.records import LabelledPost, decode_text
from tests.unit.models.data_problems import problems


def mvsa(folder: Path, rows: list[str], texts: dict[str, bytes] | None = None) -> Path:
    """A folder of MVSA with a text and a picture for every row, or the texts given."""
    (folder / "data").mkdir(parents=True)
    annotators = rows[0].count("\t") if rows else 1
    header = "ID" + "\ttext,image" * annotators
    (folder / "labelResultAll.txt").write_text("\r\n".join([header, *rows, ""]))
    for row in rows:
        post_id = row.split("\t")[0]
        (folder / "data" / f"{post_id}.jpg").write_bytes(b"\xff\xd8\xff")
        (folder / "data" / f"{post_id}.txt").write_bytes(f"text {post_id}\n".encode())
    for post_id, content in (texts or {}).items():
        (folder / "data" / f"{post_id}.txt").write_bytes(content)
    return folder


def mmsd(folder: Path, images: bool = True, **splits: list[Any]) -> Path:
    """A folder of MMSD2.0 with these splits."""
    (folder / "text_json_final").mkdir(parents=True)
    for name, items in splits.items():
        content = json.dumps(items, indent=1)
        (folder / "text_json_final" / f"{name}.json").write_text(content)
    if images:
        (folder / "dataset_image").mkdir()
        for items in splits.values():
            for item in items:
                (folder / "dataset_image" / f"{item['image_id']}.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


# MVSA


def test_mvsa_single_follows_the_usual_rule(tmp_path: Path) -> None:
    folder = mvsa(
        tmp_path / "MVSA_Single",
        [
            "1\tpositive,positive",
            "2\tneutral,negative",
            "3\tpositive,neutral",
            "4\tpositive,negative",
            "5\tNeutral, neutral",
            "6\tnegative,positive",
        ],
    )
    file = read_posts(folder)
    assert {post.id: post.sentiment for post in file.posts} == {
        "1": "positive",
        "2": "negative",
        "3": "positive",
        "5": "neutral",
    }
    assert file.posts[0] == LabelledPost(
        "1", "text 1", ((folder / "data" / "1.jpg").resolve(),), "positive"
    )
    assert "2 pairs are left out" in file.warnings[0]


def test_pairs_in_conflict_are_there_for_who_asks(tmp_path: Path) -> None:
    folder = mvsa(tmp_path / "set", ["1\tpositive,positive", "2\tpositive,negative"])
    file = read_posts(folder, conflict=True)
    assert [(post.id, post.sentiment, post.conflict) for post in file.posts] == [
        ("1", "positive", False),
        ("2", None, True),
    ]
    assert file.warnings == ()


def test_mvsa_multiple_takes_the_majority_of_annotators_first(tmp_path: Path) -> None:
    folder = mvsa(
        tmp_path / "MVSA",
        [
            "1\tpositive,neutral\tpositive,neutral\tnegative,positive",
            "2\tpositive,neutral\tneutral,neutral\tnegative,neutral",
            "3\tpositive,negative\tpositive,negative\tneutral,neutral",
            "4\tneutral,negative\tneutral,negative\tneutral,negative",
            "5\tneutral,negative\tneutral,neutral\tneutral,positive",
        ],
    )
    file = read_posts(folder)
    assert [(post.id, post.sentiment) for post in file.posts] == [
        ("1", "positive"),
        ("4", "negative"),
    ]
    assert ["2 pairs" in file.warnings[0], "1 pairs" in file.warnings[1]] == [True, True]


def test_the_label_file_may_be_named_instead_of_its_folder(tmp_path: Path) -> None:
    folder = mvsa(tmp_path / "set", ["1\tpositive,positive"])
    assert read_posts(folder / "labelResultAll.txt") == read_posts(folder)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("naïve café 😂".encode(), "naïve café 😂"),
        (b"\xef\xbb\xbfwith a mark", "with a mark"),
        (b"na\xefve caf\xe9s \x93quoted\x94 \x96 yes", "naïve cafés “quoted” – yes"),
        (b"one \x81 that Windows-1252 lacks: \xe9", "one \x81 that Windows-1252 lacks: é"),
        ("Иван едет в горы".encode("gbk"), "Иван едет в горы"),
        ("it’s 東京 すごい".encode("gbk"), "it’s 東京 すごい"),
        (b"a\0b\xff", "a\0bÿ"),
        (b"", ""),
    ],
)
def test_odd_bytes_in_texts_are_read_and_not_dropped(content: bytes, text: str) -> None:
    assert decode_mvsa_text(content) == text


@given(st.binary(max_size=50))
def test_every_byte_of_a_text_can_be_read(content: bytes) -> None:
    decode_text(content)
    decode_mvsa_text(content)


def test_a_text_in_another_encoding_reaches_its_post(tmp_path: Path) -> None:
    folder = mvsa(tmp_path / "set", ["1\tpositive,positive"], {"1": b"caf\xe9s, \x80 5\r\n"})
    assert read_posts(folder).posts[0].text == "cafés, € 5"


def test_all_that_is_wrong_with_mvsa_is_listed_with_lines(tmp_path: Path) -> None:
    folder = mvsa(
        tmp_path / "set",
        [
            "1\tpositive,positive",
            "2\thappy,positive",
            "3\tpositive",
            "4\tpositive,positive\tneutral,neutral",
            "1\tpositive,positive",
            "6\tpositive,positive",
            "7\tpositive,positive",
        ],
    )
    with (folder / "labelResultAll.txt").open("a") as file:
        file.write("../../etc/passwd\tpositive,positive\n9\n")
    (folder / "data" / "6.jpg").unlink()
    (folder / "data" / "7.txt").unlink()
    found = problems(folder)
    assert [int(problem.split(":")[1]) for problem in found] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert "'happy,positive'" in found[0]
    assert "2 annotators" in found[2]
    assert "already in line 2" in found[3]
    assert "6.jpg does not exist" in found[4]
    assert "7.txt does not exist" in found[5]


def test_another_text_is_another_data_set(tmp_path: Path) -> None:
    folder = mvsa(tmp_path / "set", ["1\tpositive,positive"])
    first = read_posts(folder).sha256
    assert read_posts(folder).sha256 == first
    (folder / "data" / "1.txt").write_text("changed")
    assert read_posts(folder).sha256 != first


# MMSD2.0

TRAIN = [
    {"text": "what a great day", "label": 1, "image_id": 11},
    {"text": "see you soon", "label": 0, "image_id": "12"},
]
TEST = [{"text": "lovely <num>", "label": 1, "image_id": 13}]


def test_mmsd_is_read_by_split_or_as_a_whole(tmp_path: Path) -> None:
    folder = mmsd(tmp_path / "MMSD2.0", train=TRAIN, test=TEST)
    assert [post.id for post in read_posts(folder).posts] == ["11", "12", "13"]
    train = read_posts(folder, split="train")
    assert train.posts[0] == LabelledPost(
        "11",
        "what a great day",
        ((folder / "dataset_image" / "11.jpg").resolve(),),
        sarcastic=True,
    )
    assert train.posts[1].sarcastic is False
    assert read_posts(folder / "text_json_final" / "train.json").posts == train.posts
    assert read_posts(folder / "text_json_final").posts == read_posts(folder).posts
    assert "it has train, test" in problems(folder, split="valid")[0]


def test_mmsd_without_its_pictures_is_read_and_says_so(tmp_path: Path) -> None:
    folder = mmsd(tmp_path / "set", images=False, train=TRAIN)
    file = read_posts(folder)
    assert [post.images for post in file.posts] == [(), ()]
    assert "without their pictures" in file.warnings[0]


def test_all_that_is_wrong_with_mmsd_is_listed_with_lines_and_items(tmp_path: Path) -> None:
    folder = mmsd(tmp_path / "set", train=TRAIN)
    items = [
        *TRAIN,
        {"text": 5, "label": 1, "image_id": 11},
        {"text": "a", "label": 2, "image_id": 11},
        {"text": "a", "label": 0, "image_id": "../x"},
        {"text": "a", "label": 0},
        {"text": "a", "label": 0, "image_id": 99},
        [],
        {"text": "a", "label": 0, "image_id": 11},
    ]
    path = folder / "text_json_final" / "train.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, items)) + "\n]")
    found = problems(folder)
    assert [int(problem.split(":")[1]) for problem in found] == [4, 5, 6, 7, 8, 9, 10]
    assert "item 3: text is 5" in found[0]
    assert "label is 2" in found[1]
    assert "99.jpg does not exist" in found[4]
    assert "train.json:2: item 1" in found[6]


@pytest.mark.parametrize("content", ["", "{}", '[{"text": "a"', "[1,", "null", "[" * 100_000])
def test_a_json_file_that_is_cut_or_no_list_is_refused(tmp_path: Path, content: str) -> None:
    folder = mmsd(tmp_path / "set", train=TRAIN)
    (folder / "text_json_final" / "train.json").write_text(content)
    assert "train.json:1" in problems(folder)[0]


# which is which


def test_a_path_that_is_no_data_set_is_told_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "posts.xlsx").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    for name in ("posts.xlsx", "empty"):
        (problem,) = problems(tmp_path / name)
        for known in (".jsonl", ".csv", ".parquet", "labelResultAll.txt", "text_json_final"):
            assert known in problem


def test_jsonl_is_known_by_its_content_too(tmp_path: Path) -> None:
    path = tmp_path / "posts.txt"
    path.write_text('\n{"id": "1", "text": "a"}')
    assert read_posts(path).posts[0].id == "1"


def test_only_mmsd_has_splits(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"id": "1", "text": "a"}')
    assert "has no splits" in problems(path, split="train")[0]


@pytest.mark.parametrize("image", ["x" * 5000, "\ud800.jpg", "a\0b", ".", "../a.jpg"])
def test_no_name_of_an_image_makes_reading_fail(tmp_path: Path, image: str) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text(json.dumps({"id": "1", "text": "a", "images": [image]}))
    assert len(problems(path)) == 1


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("sentiment", "good", "one of negative, neutral, positive"),
        ("text_sentiment", 1, "one of negative, neutral, positive"),
        ("image_sentiment", ["positive"], "one of negative, neutral, positive"),
        ("sarcastic", "yes", "true or false"),
        ("offensive", 0, "true or false"),
        ("hateful", "no", "true or false"),
        ("conflict", 1, "true or false"),
    ],
)
def test_a_label_that_is_none_is_named(tmp_path: Path, name: str, value: object, must: str) -> None:
    path = tmp_path / "a.jsonl"
    good = {"id": "1", "text": "a", name: None}
    path.write_text("\n".join(json.dumps(one) for one in (good, {**good, "id": "2", name: value})))
    assert problems(path) == (f"{path}:2: {name} is {value!r}; it must be {must}",)


def test_every_label_is_read(tmp_path: Path) -> None:
    labels = {
        "sentiment": "positive",
        "text_sentiment": "neutral",
        "image_sentiment": "positive",
        "sarcastic": False,
        "offensive": True,
        "hateful": False,
        "conflict": True,
        "emotion": "joy",
        "emoji": "x",
        "language": "en",
    }
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "1", "text": "a", **labels}))
    (post,) = read_posts(path).posts
    assert {name: getattr(post, name) for name in labels} == labels
