"""What every data set becomes, and the checks that all of them share. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deadpan.core import people_files
from deadpan.core.errors import DataError
from deadpan.core.people_files import UnreadableFileError, encoding_problem
from deadpan.core.post_fields import MISSING, WrongFieldError, read_id, read_images, read_text
from models.posts.normal_form.normalise import normalise_text
from models.posts.prediction import SENTIMENTS

SENTIMENT_LABELS = ("sentiment", "text_sentiment", "image_sentiment")
TRUTHS = ("sarcastic", "conflict", "offensive", "hateful")
WORDS = ("emotion", "emoji", "language")

_LABELS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (SENTIMENT_LABELS, lambda value: value in SENTIMENTS, f"one of {', '.join(SENTIMENTS)}"),
    (TRUTHS, lambda value: isinstance(value, bool), "true or false"),
)
_MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, for a person who wants to mend it.

    Attributes:
        path: of the file.
        line: from 1; in Parquet, which has no lines, the row.
        item: what it is called where a line holds several, such as "item 7"; or "".
    """

    path: Path
    line: int
    item: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f": {self.item}" if self.item else "")


@dataclass(frozen=True, slots=True)
class LabelledPost:
    """One post of a data set.

    Attributes:
        id: unique in its data set.
        text: as its author wrote it.
        images: existing files, in the post's order.
        sentiment: one of `SENTIMENTS`, or None when unknown.
        sarcastic: or None when unknown.
        offensive: the same.
        hateful: the same.
        text_sentiment: what an annotator said of the words alone, or None.
        image_sentiment: the same of the pictures.
        emotion: any word for it, or None; only helps training.
        emoji: the same: which one its author put at the end.
        language: ISO 639-1, or None when unknown.
        conflict: annotators read the words as positive and the picture as negative, or the other
            way round.
        place: where it was read, when it was read from a data set.
    """

    id: str
    text: str
    images: tuple[Path, ...] = ()
    sentiment: str | None = None
    sarcastic: bool | None = None
    conflict: bool = False
    offensive: bool | None = None
    hateful: bool | None = None
    text_sentiment: str | None = None
    image_sentiment: str | None = None
    emotion: str | None = None
    emoji: str | None = None
    language: str | None = None
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PostsFile:
    """A data set that was read.

    Attributes:
        sha256: of the file, in hexadecimal; of a folder, over names and contents of its label and
            text files. Names the data in a model card.
        posts: in the order of the file.
        warnings: a sentence for every line, or kind of line, that was skipped.
    """

    path: Path
    sha256: str
    posts: tuple[LabelledPost, ...]
    warnings: tuple[str, ...]


class Collector:
    """Gathers the posts of one data set, and all that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = (path if path.is_dir() else path.parent).resolve()
        self.posts: list[LabelledPost] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._place_of_id: dict[str, Place] = {}
        self._digest = hashlib.sha256()

    def read_bytes(self, path: Path, *, is_text: bool = True) -> bytes:
        """A file of the data set; its content goes into the data set's hash.

        Raises:
            DataError: it cannot be read, or is a text in an encoding that would be misread.
        """
        try:
            content = people_files.read_bytes(path, max_bytes=None, pipes=True)
        except UnreadableFileError as error:
            raise DataError(f"{path}: {error}; name a data set that can be read") from None
        if is_text and (problem := encoding_problem(content[:4])):
            raise DataError(f"{path}: {problem}")
        if path != self.path:
            self._digest.update(f"{path.name}\0{len(content)}\0".encode(errors="surrogateescape"))
        self._digest.update(content)
        return content

    def problem(self, place: Place, problem: str) -> None:
        """Note what is wrong, and go on: all problems are shown at once."""
        self.problems.append(f"{place}: {problem}")

    def add(self, place: Place, post: LabelledPost) -> None:
        """Take a post whose parts are checked. A post without words and pictures has nothing to
        learn from or to judge: it is skipped, and a warning says so."""
        if self._is_new(place, post.id):
            self._keep(place, post)

    def _keep(self, place: Place, post: LabelledPost) -> None:
        if not post.images and not normalise_text(post.text):
            self.warnings.append(
                f"{place}: post {post.id!r:.60} has neither words nor pictures; skipped"
            )
            return
        self.posts.append(replace(post, place=place))

    def add_record(self, place: Place, record: Mapping[str, Any]) -> None:
        """Check a post of one of our own tables, and take it when nothing is wrong.

        Args:
            place: where it stands.
            record: "id", "text", "images" as a post source takes them, and the labels of
                `LabelledPost`; other keys are ignored, and a label that is missing or None is
                unknown.
        """
        found: list[str] = []
        post_id = read_id(record.get("id"))
        text, images = "", tuple[str, ...]()
        if post_id is None:
            found.append(
                f"id is {record.get('id')!r:.60}; it must be a string that is not empty, "
                "or a whole number"
            )
        elif not self._is_new(place, post_id):
            post_id = None
        try:
            text = read_text(record.get("text", MISSING))
        except WrongFieldError as error:
            found.append(f"{error} (write an empty one where there is none)")
        labels: dict[str, Any] = {}
        for names, good, must in _LABELS:
            for name in names:
                labels[name] = record.get(name)
                if labels[name] is not None and not good(labels[name]):
                    found.append(f"{name} is {labels[name]!r:.60}; it must be {must}")
        # keys that many posts have for their own ends: what is no string is unknown
        labels |= {name: value for name in WORDS if isinstance(value := record.get(name), str)}
        try:
            images = read_images(record.get("images"))
        except WrongFieldError as error:
            found.append(f"{error}; write paths relative to the file")
        paths = tuple(path for image in images if (path := self._image(image, found)) is not None)
        for problem in found:
            self.problem(place, problem)
        if found or post_id is None:
            return
        labels["conflict"] = bool(labels["conflict"])
        self._keep(place, LabelledPost(post_id, text, paths, **labels))

    def finish(self) -> PostsFile:
        """The data set.

        Raises:
            DataError: with every problem, each naming file and line.
        """
        if not self.posts and not self.problems:
            # all that was skipped tells why nothing is left
            self.problems += [f"{self.path}: holds no post that can be used", *self.warnings]
        if self.problems:
            more = len(self.problems) - _MAX_PROBLEMS
            tail = [f"{self.path}: and {more} more problems"] if more > 0 else []
            raise DataError(self.problems[:_MAX_PROBLEMS] + tail)
        return PostsFile(
            path=self.path,
            sha256=self._digest.hexdigest(),
            posts=tuple(self.posts),
            warnings=tuple(self.warnings),
        )

    def _is_new(self, place: Place, post_id: str) -> bool:
        first = self._place_of_id.setdefault(post_id, place)
        if first is place:
            return True
        where = f"line {first.line}" if first.path == place.path and not first.item else f"{first}"
        self.problem(place, f"id {post_id!r:.60} is already in {where}; ids must be unique")
        return False

    def _image(self, image: str, found: list[str]) -> Path | None:
        if "\0" in image:
            found.append(f"image is {image!r:.60}; it must be a path relative to the file")
            return None
        try:
            path = (self.root / image).resolve()
            outside, exists = not path.is_relative_to(self.root), path.is_file()
        except (OSError, ValueError) as error:  # too long, or no name in any encoding
            found.append(f"image {image!r:.100} is not a valid path: {error!s:.100}")
            return None
        if outside:
            found.append(f"image {image!r:.300} lies outside {self.root}; move it below the file")
            return None
        if not exists:
            found.append(f"image {image!r:.300} does not exist below {self.root}")
            return None
        return path


def decode_text(content: bytes) -> str:
    """Bytes of a text in no stated encoding. Never raises, and drops nothing.

    UTF-8 where it is; otherwise Windows-1252, which is what most tools on Windows write, and where
    a byte means nothing in it either, Latin-1, which takes every byte. NULs and other control
    characters are left to `models.posts.text.normalise_text`.
    """
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def decode_lines(content: bytes) -> list[str]:
    """Lines, without their ends, each decoded by itself: one odd line leaves the others alone."""
    return [decode_text(line.removesuffix(b"\r")) for line in content.split(b"\n")]
