"""Our own tables, as CSV and Parquet: they hold what JSONL holds, and every mistake has a line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from models.data.posts_file import read_posts
from models.data.records import LabelledPost
from tests.unit.models.data_problems import problems


def table(path: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_csv_holds_what_jsonl_holds(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    header = ["id", "text", "images", "sentiment", "sarcastic", "conflict", "note"]
    rows = [
        header,
        ["1", 'says "hi",\nand more', "a.jpg|b.jpg", "negative", "true", "", ""],
        ["2", "b", '["a.jpg"]', "", "0", "no", "x"],
        ["3", "c", "", "", "", "yes", ""],
    ]
    jsonl = tmp_path / "posts.jsonl"
    records = [
        {
            "id": "1",
            "text": 'says "hi",\nand more',
            "images": ["a.jpg", "b.jpg"],
            "sentiment": "negative",
            "sarcastic": True,
        },
        {"id": "2", "text": "b", "images": ["a.jpg"], "sarcastic": False, "conflict": False},
        {"id": "3", "text": "c", "conflict": True},
    ]
    jsonl.write_text("\n".join(map(json.dumps, records)))
    expected = read_posts(jsonl).posts
    assert expected[2].conflict
    assert read_posts(table(tmp_path / "posts.csv", rows)).posts == expected
    assert read_posts(table(tmp_path / "posts.tsv", rows, delimiter="\t")).posts == expected


def test_all_that_is_wrong_with_a_csv_is_listed_with_lines(tmp_path: Path) -> None:
    path = table(
        tmp_path / "posts.csv",
        [
            ["id", "text", "images", "sentiment", "sarcastic"],
            ["1", "two\nlines", "", "", ""],
            ["2", "a", "", "happy", ""],
            ["3", "a", "", "", "perhaps"],
            ["4", "a", "missing.jpg", "", ""],
            ["5", "a", "[broken", "", ""],
            ["1", "a", "", "", ""],
            ["", "a", "", "", ""],
            ["7", "a"],
        ],
    )
    with path.open("a") as file:
        file.write('8,"never closed\n')
    found = problems(path)
    assert [int(problem.split(":")[1]) for problem in found] == [4, 5, 6, 7, 8, 9, 10, 11]
    assert "already in line 2" in found[4]
    assert "2 cells" in found[6]
    assert "is not CSV" in found[7]


@pytest.mark.parametrize("header", ["id", "text,sentiment", "id,text,text", "1,hello"])
def test_a_csv_without_its_columns_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(f"{header}\n")
    assert "of the columns" in problems(path)[0]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_one_odd_line_leaves_the_others_alone(tmp_path: Path, suffix: str) -> None:
    lines = {
        "csv": ["id,text", "1,naïve", "2,{}", "3,a\0b"],
        "jsonl": [
            '{"id": "1", "text": "naïve"}',
            '{"id": "2", "text": "{}"}',
            '{"id": "3", "text": "a\0b"}',
        ],
    }[suffix]
    content = "\r\n".join(lines).encode().replace(b"{}", b"caf\xe9")
    path = tmp_path / f"posts.{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + content)
    assert [post.text for post in read_posts(path).posts] == ["naïve", "café", "a\0b"]


def test_parquet_holds_what_jsonl_holds(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `data` is not installed")
    from pyarrow import parquet

    (tmp_path / "a.jpg").write_bytes(b"x")
    columns = {
        "id": [1, 2, 3],
        "text": [b"caf\xe9", b"b", b"c"],
        "images": [["a.jpg"], [], None],
        "sentiment": ["negative", None, "neutral"],
        "sarcastic": [1.0, 0.0, float("nan")],
        "score": [0.1, 0.2, 0.3],
    }
    path = tmp_path / "posts.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    assert read_posts(path).posts == (
        LabelledPost("1", "café", ((tmp_path / "a.jpg").resolve(),), "negative", True),
        LabelledPost("2", "b", (), None, False),
        LabelledPost("3", "c", (), "neutral"),
    )
    # as pandas writes it: strings and truth values
    columns = {"id": ["1"], "text": ["a"], "images": ["a.jpg|a.jpg"], "sarcastic": [True]}
    parquet.write_table(pyarrow.table(columns), path)
    assert len(read_posts(path).posts[0].images) == 2


def test_all_that_is_wrong_with_a_parquet_file_is_listed_with_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `data` is not installed")
    from pyarrow import parquet

    path = tmp_path / "posts.parquet"
    columns = {"id": ["1", "1", None], "text": ["a", "b", "c"], "sentiment": [None, None, "happy"]}
    parquet.write_table(pyarrow.table(columns), path)
    assert [problem.split(":")[1] for problem in problems(path)] == ["2", "3", "3"]
    parquet.write_table(pyarrow.table({"id": ["1"]}), path)
    assert "text is missing" in problems(path)[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert "is not Parquet" in problems(path)[0]


def test_without_the_extra_parquet_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = tmp_path / "posts.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'deadpan[data]'" in problems(path)[0]
