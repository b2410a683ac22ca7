"""Files that people write: in which encoding, of what kind, and how large."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from deadpan.core.errors import DataError, PolicyError
from deadpan.core.people_files import MAX_BYTES, UnreadableFileError, read_bytes, read_text, text_of
from models.data.posts_file import read_posts
from models.training.recipe import load_recipe
from sources.ids import IdFile
from sources.open import check_source_spec
from tasks.policy.reason_codes import read_policy

POLICY = '[[rules]]\nname = "sad"\nwhen = "sentiment.negative >= 0.5"\n'
OTHERS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def test_a_mark_is_no_part_of_the_text() -> None:
    assert text_of(b"\xef\xbb\xbfa") == "a"
    assert text_of("schön".encode()) == "schön"
    assert text_of(b"") == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a".encode("utf-16"), "is UTF-16, as PowerShell"),
        (b"\xfe\xff\0a", "is UTF-16"),
        ("abc".encode("utf-16-le"), "is UTF-16 without a mark"),
        ("abc".encode("utf-16-be"), "is UTF-16 without a mark"),
        ("a".encode("utf-32"), "is UTF-32"),
        (b"\0\0\0\0", "is no text"),
        ("one\nschön".encode("cp1252"), "line 2 holds the byte 0xf6, as Windows-1252"),
        (gzip.compress(b"a", mtime=0), "is gzipped"),
        (b"PK\x03\x04rest", "spreadsheet"),
    ],
)
def test_another_encoding_is_named_with_the_remedy(content: bytes, says: str) -> None:
    with pytest.raises(UnreadableFileError, match=says):
        text_of(content)


def test_only_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"a" * (MAX_BYTES + 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, says in (
        (large, "is larger than 1,048,576 bytes"),
        (pipe, "is not a file but a pipe"),
        (Path("/dev/zero"), "is not a file but a device"),
        (tmp_path, "is not a file but a folder"),
        (tmp_path / "none", "cannot be read: No such file"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(UnreadableFileError, match=says):
            read_text(path)
    assert len(read_bytes(large, max_bytes=None)) == MAX_BYTES + 1


@pytest.mark.parametrize("encoding", OTHERS)
def test_every_file_that_people_name_is_refused_by_its_encoding(
    encoding: str, tmp_path: Path
) -> None:
    """In one sentence each; of ids none is given, so that none is pushed."""
    name = encoding.upper()[:6]
    lines = '{"id": "1", "text": "a fine day"}\n{"id": "2", "text": "a bad one"}\n'

    def written(file: str, text: str) -> Path:
        (tmp_path / file).write_bytes(text.encode(encoding))
        return tmp_path / file

    with pytest.raises(PolicyError, match=f"policy .* is {name}"):
        read_policy(str(written("policy.toml", POLICY)))
    with pytest.raises(DataError, match=f"recipe .* is {name}"):
        load_recipe(written("recipe.toml", "[settings]\n"), tmp_path)
    for file in ("posts.jsonl", "posts.csv", "posts.tsv"):
        with pytest.raises(DataError, match=f": is {name}") as caught:
            read_posts(written(file, lines))
        assert len(caught.value.problems) == 1
    (problem,) = check_source_spec(f"file:{written('posts.jsonl', lines)}")
    assert f" is {name}" in problem
    for content in ("1\n2\n".encode(encoding), gzip.compress("1\n2\n".encode(encoding))):
        (tmp_path / "ids").write_bytes(content)
        ids = IdFile(tmp_path / "ids")
        with pytest.raises(DataError, match=f"ids is {name}"):
            ids.start(None)
        ids.close()


def test_a_mark_changes_nothing_in_any_file_that_people_name(tmp_path: Path) -> None:
    def written(file: str, text: str) -> Path:
        (tmp_path / file).write_text(text, encoding="utf-8-sig")
        return tmp_path / file

    assert read_policy(str(written("policy.toml", POLICY)))["rules"][0]["name"] == "sad"
    line = '{"id": "1", "text": "a fine day", "sentiment": "positive"}\n'
    assert read_posts(written("posts.jsonl", line)).posts[0].id == "1"
    assert read_posts(written("posts.csv", "id,text\n1,a fine day\n")).posts[0].id == "1"
    assert check_source_spec(f"file:{written('posts.jsonl', line)}") == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_mark_is_no_part_of_the_first_id_and_going_on_knows_the_place(
    pack: type[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "ids"
    path.write_bytes(pack(b"\xef\xbb\xbf101\r\n102\r\n103\r\n"))
    ids = IdFile(path)
    ids.start(None)
    given = iter(ids)
    assert [next(given), next(given)] == [(1, b"101"), (2, b"102")]
    place = ids.place
    ids.close()
    again = IdFile(path)
    again.start(place)
    assert list(again) == [(3, b"103")]
    again.close()


def test_a_device_that_never_ends_is_no_file_of_ids() -> None:
    ids = IdFile(Path("/dev/zero"))
    with pytest.raises(DataError, match="is no text"):
        ids.start(None)
    ids.close()
    for never_ends in (lambda: read_posts(Path("/dev/zero")), lambda: read_policy("/dev/zero")):
        with pytest.raises((DataError, PolicyError), match="is not a file but a device"):
            never_ends()


def test_a_policy_of_nested_brackets_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"a = {'[' * 100_000}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="nested too deep"):
        read_policy(str(path))
    path.write_text(f"a = {'9' * 100_000}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="is not TOML"):
        read_policy(str(path))
