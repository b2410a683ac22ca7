"""From settings to a post source, or to sentences that say what is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deadpan.core.errors import SettingsError
from sources.database import DatabaseSource
from sources.files import FileSource
from sources.http import HttpSource
from sources.mapping import PostMapping
from sources.open import check_source_spec, open_source


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "is not set"),
        ("ftp://example.com/{id}", "'ftp://example.com/{id}', which is not a post source"),
        ("posts.jsonl", "which is not a post source"),
        ("Database", "which is not a post source"),
        ("http://example.com/posts", "holds 0 of {ids} and {id}"),
        ("http://example.com/{id}/{id}", "holds 2 of"),
        ("http://example.com/{id}?all={ids}", "holds 2 of"),
        ("http:///{id}", "names no host"),
        ("http://", "names no host"),
        ("http://example.com:99999/{id}", "not a valid URL"),
        ("http://[::1/{id}", "not a valid URL"),
        ("http://{id}.example.com/", "in its host"),
        ("http://example.com/#{id}", "after '#'"),
        ("file:absent.jsonl", "there is no file 'absent.jsonl'"),
        ("file:", "there is no file ''"),
        ("database", "DEADPAN_SOURCE_DATABASE_URL is not set"),
    ],
)
def test_a_wrong_source_names_the_value_and_the_remedy(spec: str, words: str) -> None:
    assert any(words in problem for problem in check_source_spec(spec))
    with pytest.raises(SettingsError) as raised:
        open_source(spec)
    assert words in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    assert len(check_source_spec("database")) == 2
    assert len(check_source_spec("http://user:secret@[::1/posts", token="a\nb")) == 3


def test_a_password_in_the_url_is_not_shown() -> None:
    problems = check_source_spec("http://user:secret@example.com/{id}/{id}", token="token")
    assert len(problems) == 2
    assert "secret" not in "".join(problems)


@pytest.mark.parametrize("token", ["", " ", "a\r\nX: y", "\u00e9"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    assert "DEADPAN_SOURCE_TOKEN" in "".join(check_source_spec("http://a/{id}", token=token))


def test_every_kind_of_source_is_opened(tmp_path: Path) -> None:
    (tmp_path / "posts.jsonl").touch()
    (tmp_path / "platform.db").touch()
    for spec, kind in {
        "http://127.0.0.1:9/{id}": HttpSource,
        "HTTPS://127.0.0.1:9/posts?ids={ids}": HttpSource,
        f"file:{tmp_path}/posts.jsonl": FileSource,
        "database": DatabaseSource,
    }.items():
        source = open_source(
            spec,
            database_url=f"sqlite:///{tmp_path}/platform.db",
            database_query="SELECT id, text FROM posts WHERE id IN :ids",
        )
        assert isinstance(source, kind)
        assert source.fetch([]) == {}
        source.close()
        source.close()


def test_a_mapping_is_read_from_settings() -> None:
    assert PostMapping.parse(()) == PostMapping()
    mapping = PostMapping.parse(("posts=data.items", "images = media.*.url"))
    assert mapping == PostMapping(posts="data.items", images="media.*.url")
    assert PostMapping.parse(["posts="]).posts == ""


def test_a_wrong_mapping_tells_all_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as raised:
        PostMapping.parse(["body=a", "text", "id=", "author=a..b", "images=a", "images=b"])
    assert len(raised.value.problems) == 5
    assert all("DEADPAN_SOURCE_FIELDS" in problem for problem in raised.value.problems)


def test_checking_a_source_loads_no_client() -> None:
    program = (
        "import sys, sources.post; "
        "sys.exit(any(name in sys.modules for name in ('requests', 'sqlalchemy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
