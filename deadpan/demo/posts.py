"""The posts that the sample platform serves, read from a JSONL file.

One object a line: `{"id": str, "text": str, "images"?: [path], "author"?: str, "created_at"?: str,
"language"?: str, "about"?: str, "sentiment"?: "negative" | "neutral" | "positive",
"sarcastic"?: bool}`. Image paths are relative to the file, other keys are ignored. Each field of a
post may be whatever a post source takes (`deadpan.core.post_fields`).

Beside `NAME.jsonl` there may be a `NAME.pushed.json` with more ids to push: `{"again": [id, …],
"gone": [id, …]}`, posts that are pushed twice and posts that the platform no longer has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from deadpan.core.errors import DataError
from deadpan.core.people_files import MARK, UnreadableFileError, encoding_problem, read_bytes
from deadpan.core.post_fields import (
    MISSING,
    WrongFieldError,
    read_author,
    read_id,
    read_images,
    read_language,
    read_text,
)

SENTIMENTS = ("negative", "neutral", "positive")

_MAX_ID_BYTES = 256
_MAX_PROBLEMS = 20

Read = TypeVar("Read")


class Labels(TypedDict, total=False):
    """What people said of a post; unknown labels are left out."""

    sentiment: str
    sarcastic: bool


@dataclass(frozen=True, slots=True)
class SamplePost:
    """One post of the file.

    Attributes:
        images: files below the posts file's folder; one may be missing.
        created_at: as the file has it, and served so.
        about: a note for whoever reads the demo's table.
    """

    id: str
    text: str
    images: tuple[Path, ...]
    author: str | None
    created_at: Any
    language: str | None
    about: str | None
    labels: Labels


@dataclass(frozen=True, slots=True)
class SamplePosts:
    """A posts file that was read.

    Attributes:
        folder: of the file; no image lies outside it.
        posts: by id, in the order of the file.
        again: ids to push a second time.
        gone: ids to push although the platform has no such post.
    """

    folder: Path
    posts: dict[str, SamplePost]
    again: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def read_posts(path: Path) -> SamplePosts:
    """Read a posts file and its `.pushed.json`, and check every line.

    Raises:
        DataError: with every problem (at most 20, and how many more), each naming file and line.
    """
    reader = _Reader(path)
    again, gone = reader.read()
    if reader.problems:
        more = len(reader.problems) - _MAX_PROBLEMS
        tail = [f"{path}: and {more} more"] if more > 0 else []
        raise DataError(reader.problems[:_MAX_PROBLEMS] + tail)
    return SamplePosts(folder=reader.folder, posts=reader.posts, again=again, gone=gone)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent.resolve()
        self.posts: dict[str, SamplePost] = {}
        self.problems: list[str] = []
        self._line_of_id: dict[str, int] = {}

    def read(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read both files; returns the ids to push again and those that are gone."""
        content = self._content_of(self.path)
        if content is None:
            return (), ()
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                found = self._read_line(number, line)
                self.problems += [f"{self.path}:{number}: {problem}" for problem in found]
        if not self.posts and not self.problems:
            self.problems.append(f"{self.path}: holds no post; write one JSON object a line")
        return self._read_pushed(self.path.with_suffix(".pushed.json"))

    def _content_of(self, path: Path) -> bytes | None:
        try:
            content = read_bytes(path, max_bytes=None, pipes=True)
        except UnreadableFileError as error:
            self.problems.append(f"{path}: {error}; name a posts file (JSONL) that can be read")
            return None
        if problem := encoding_problem(content[:4]):
            self.problems.append(f"{path}: {problem}")
            return None
        return content.removeprefix(MARK)

    def _read_line(self, number: int, line: bytes) -> list[str]:
        """Read a post; returns the problems."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            return [f"is not JSON: {error}"]
        if not isinstance(record, dict):
            return [f"is {type(record).__name__}, not a JSON object"]
        found: list[str] = []
        post = self._post(record, number, found)
        if not found:
            self.posts[post.id] = post
        return found

    def _read_pushed(self, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if not path.is_file() or (content := self._content_of(path)) is None:
            return (), ()
        try:
            pushed = json.loads(content)
            again, gone = pushed.get("again", []), pushed.get("gone", [])
            is_valid = all(
                isinstance(ids, list) and not any(map(_wrong_id, ids)) for ids in (again, gone)
            )
        except (ValueError, RecursionError, AttributeError):
            is_valid = False
        if not is_valid:
            self.problems.append(f'{path}: must be {{"again": [id, …], "gone": [id, …]}}')
            return (), ()
        known = self._line_of_id
        for post_id in again:
            if post_id not in known:
                self.problems.append(f"{path}: again: no post {post_id!r} in the file")
        for post_id in gone:
            if post_id in known:
                self.problems.append(f"{path}: gone: post {post_id!r} is in the file")
        return tuple(again), tuple(gone)

    def _post(self, record: dict[str, Any], number: int, found: list[str]) -> SamplePost:
        def field(read: Callable[[], Read], otherwise: Read) -> Read:
            try:
                return read()
            except WrongFieldError as error:
                found.append(str(error))
                return otherwise

        post_id = read_id(record.get("id"))
        if problem := _wrong_id(post_id if post_id is not None else record.get("id")):
            found.append(f"id {problem}")
        elif (first := self._line_of_id.setdefault(str(post_id), number)) != number:
            found.append(f"id {post_id!r} stands in line {first} already; ids must be unique")
        text = field(lambda: read_text(record.get("text", MISSING)), "")
        images = field(lambda: read_images(record.get("images")), tuple[str, ...]())
        author = field(lambda: read_author(record.get("author")), None)
        about = record.get("about")
        if not isinstance(about, str | None):
            found.append(f"about is {about!r:.60}; it must be a string")
        paths = [self._image(image, found) for image in images]
        return SamplePost(
            id=str(post_id),
            text=text,
            images=tuple(path for path in paths if path is not None),
            author=author,
            created_at=record.get("created_at"),
            language=read_language(record.get("language")),
            about=about,
            labels=_labels(record, found),
        )

    def _image(self, image: str, found: list[str]) -> Path | None:
        if "://" in image:
            found.append(f"image {image!r:.90} is a URL; only files below the folder are served")
            return None
        try:
            path = (self.folder / image).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            found.append(f"image {image!r:.90} cannot be a path: {error}")
            return None
        if not path.is_relative_to(self.folder):
            found.append(f"image {image!r:.90} lies outside {self.folder}; move it below the file")
            return None
        return path


def _labels(record: dict[str, Any], found: list[str]) -> Labels:
    labels: Labels = {}
    sentiment, sarcastic = record.get("sentiment"), record.get("sarcastic")
    if sentiment in SENTIMENTS:
        labels["sentiment"] = sentiment
    elif sentiment is not None:
        found.append(f"sentiment is {sentiment!r:.60}; it must be one of {', '.join(SENTIMENTS)}")
    if isinstance(sarcastic, bool):
        labels["sarcastic"] = sarcastic
    elif sarcastic is not None:
        found.append(f"sarcastic is {sarcastic!r:.60}; it must be true or false")
    return labels


def _wrong_id(post_id: object) -> str | None:
    """What is wrong with an id, if anything."""
    if post_id is None:
        return "is missing"
    if not isinstance(post_id, str) or not post_id:
        return f"is {post_id!r:.60}; it must be a string that is not empty, or a whole number"
    try:
        length = len(post_id.encode())
    except UnicodeEncodeError:
        return f"{post_id!r:.60} holds half a character and is not UTF-8"
    if length > _MAX_ID_BYTES:
        return f"{post_id!r:.60} has {length} bytes; the limit is {_MAX_ID_BYTES}"
    return None
