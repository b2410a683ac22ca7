"""Labelled posts from a JSONL file, for training and evaluation. Needs no torch.

One object a line: `{"id": str, "text": str, "images"?: [path], "sentiment"?: "negative" | "neutral"
| "positive", "sarcastic"?: bool, "conflict"?: bool}`. Paths are relative to the file. A label that
is missing is unknown, not false. Other keys are ignored.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deadpan.errors import DataError
from models.prediction import SENTIMENTS
from models.text import normalise_text

_MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class LabelledPost:
    """One post of a file.

    Attributes:
        id: unique in its file.
        text: as its author wrote it.
        images: existing files, in the post's order.
        sentiment: one of `SENTIMENTS`, or None when unknown.
        sarcastic: or None when unknown.
        conflict: whether words and pictures are known to contradict each other.
    """

    id: str
    text: str
    images: tuple[Path, ...] = ()
    sentiment: str | None = None
    sarcastic: bool | None = None
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class PostsFile:
    """A file that was read.

    Attributes:
        path: of the file.
        sha256: of the file, in hexadecimal; names the data in a model card.
        posts: in the order of the file.
        warnings: a sentence for every line that was skipped.
    """

    path: Path
    sha256: str
    posts: tuple[LabelledPost, ...]
    warnings: tuple[str, ...]


def read_posts(path: Path) -> PostsFile:
    """Read a whole file and check every line.

    A post without words and pictures has nothing to learn from or to judge: it is skipped, and a
    warning says so.

    Raises:
        DataError: with every problem, each naming file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; name a posts file (JSONL) that can be read"
        ) from error
    reader = _Reader(path)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            reader.read_line(number, line)
    if not reader.posts and not reader.problems:
        reader.problems.append(f"{path}: holds no post; write one JSON object a line")
    if reader.problems:
        more = len(reader.problems) - _MAX_PROBLEMS
        tail = [f"{path}: and {more} more problems"] if more > 0 else []
        raise DataError(reader.problems[:_MAX_PROBLEMS] + tail)
    return PostsFile(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        posts=tuple(reader.posts),
        warnings=tuple(reader.warnings),
    )


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.resolve().parent
        self.posts: list[LabelledPost] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._line_of_id: dict[str, int] = {}

    def read_line(self, number: int, line: bytes) -> None:
        found: list[str] = []
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            found.append(f"is not JSON: {error}")
            record = None
        if record is not None and not isinstance(record, dict):
            found.append(f"is {type(record).__name__}, not a JSON object")
        post = self._post(record, number, found) if isinstance(record, dict) else None
        self.problems += [f"{self.path}:{number}: {problem}" for problem in found]
        if post is None or found:
            return
        if not post.images and not normalise_text(post.text):
            self.warnings.append(
                f"{self.path}:{number}: post {post.id!r} has neither words nor pictures; skipped"
            )
            return
        self.posts.append(post)

    def _post(self, record: dict[str, Any], number: int, found: list[str]) -> LabelledPost:
        post_id, text = record.get("id"), record.get("text")
        if not isinstance(post_id, str) or not post_id:
            found.append(f"id is {post_id!r:.60}; it must be a string that is not empty")
        elif (first := self._line_of_id.setdefault(post_id, number)) != number:
            found.append(f"id {post_id!r} stands in line {first} already; ids must be unique")
        if not isinstance(text, str):
            found.append(f"text is {text!r:.60}; it must be a string (empty when there is none)")
        sentiment, sarcastic = record.get("sentiment"), record.get("sarcastic")
        if sentiment is not None and sentiment not in SENTIMENTS:
            found.append(
                f"sentiment is {sentiment!r:.60}; it must be one of {', '.join(SENTIMENTS)}"
            )
        if sarcastic is not None and not isinstance(sarcastic, bool):
            found.append(f"sarcastic is {sarcastic!r:.60}; it must be true or false")
        conflict = record.get("conflict", False)
        if not isinstance(conflict, bool):
            found.append(f"conflict is {conflict!r:.60}; it must be true or false")
        images = record.get("images") or []
        if not isinstance(images, list):
            found.append(f"images is {images!r:.60}; it must be a list of paths")
            images = []
        paths = tuple(path for image in images if (path := self._image(image, found)) is not None)
        return LabelledPost(
            id=str(post_id),
            text=str(text),
            images=paths,
            sentiment=sentiment,
            sarcastic=sarcastic,
            conflict=bool(conflict),
        )

    def _image(self, image: object, found: list[str]) -> Path | None:
        if not isinstance(image, str) or not image or "\0" in image:
            found.append(f"image is {image!r:.60}; it must be a path relative to the file")
            return None
        path = (self.root / image).resolve()
        if not path.is_relative_to(self.root):
            found.append(f"image {image!r} lies outside {self.root}; move it below the file")
            return None
        if not path.is_file():
            found.append(f"image {image!r} does not exist below {self.root}")
            return None
        return path
