"""The posts of a recipe's files: read, checked, and without what training must not see."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deadpan.core.errors import DataError, ModelError
from models.data.posts_file import LabelledPost, PostsFile, read_posts
from models.evaluation.judge import label_of
from models.posts.text import TextPreparer
from models.training.settings import AUXILIARY, DataFile

_LEFT_OUT_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A post, ready for the encoders.

    Attributes:
        file: index of its file.
        text_key: of its words, whatever their case; "" when it has none.
        token_ids: of its words.
        image_keys: SHA-256 of its pictures.
        ocr_token_ids: of its words and those in its pictures; () when those hold none, or were not
            read.
        text: its words, as the tokenizer saw them.
    """

    post: LabelledPost
    file: int
    text_key: str
    token_ids: tuple[int, ...]
    image_keys: tuple[str, ...]
    ocr_token_ids: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """Posts of the training files that are not learnt from, and why.

    Attributes:
        text_in_dev: the same normalised text stands in a dev file.
        image_in_dev: the same picture stands in a dev file (and not the same text).
        with_pictures: words alone that another training post has with a picture, so that
            cross-validation on such posts learns words from the same posts as training.
        repeated: the same words, pictures and labels came before.
        unlabelled: no label, or for nothing that the model is asked.
    """

    text_in_dev: int
    image_in_dev: int
    with_pictures: int
    repeated: int
    unlabelled: int

    def __str__(self) -> str:
        return (
            f"left out {self.text_in_dev} whose words and {self.image_in_dev} whose picture are in "
            f"a dev file, {self.with_pictures} whose words another post has with a picture, "
            f"{self.repeated} repeats and {self.unlabelled} without a label"
        )


class Corpus:
    """Rows of several files, with what the encoders need for them."""

    def __init__(self, files: Sequence[DataFile], prepare: TextPreparer) -> None:
        """Read every file, or raise a DataError with the problems of all of them."""
        self.files = tuple(files)
        self.read: list[PostsFile] = []
        self.rows: list[Row] = []
        self.image_paths: dict[str, Path] = {}
        problems: list[str] = []
        for index, file in enumerate(self.files):
            try:
                read = read_posts(file.path)
            except DataError as error:
                problems += error.problems
                continue
            posts = tuple(post for post in read.posts if file.holds(post.id))
            if not posts:
                problems.append(f"{file.path}: no post belongs to {file.title!r}; change hold_out")
                continue
            # warnings are those of the whole file, told once
            warnings = () if file.held else read.warnings
            self.read.append(dataclasses.replace(read, posts=posts, warnings=warnings))
            self.rows += [self._row(post, index, prepare) for post in posts]
        if problems:
            raise DataError(problems)

    def _row(self, post: LabelledPost, file: int, prepare: TextPreparer) -> Row:
        normalised, token_ids = prepare(post.text)
        key = normalised.lower() if token_ids else ""
        images = []
        for path in post.images:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            self.image_paths[sha256] = path
            images.append(sha256)
        return Row(post, file, key, token_ids, tuple(images), text=normalised)

    @property
    def warnings(self) -> list[str]:
        """A sentence for every line that was skipped."""
        return [warning for read in self.read for warning in read.warnings]

    def describe(self) -> list[dict[str, Any]]:
        """For the model card: names, never paths."""
        return [
            {
                "name": file.title,
                "source": file.source,
                "licence": file.licence,
                "sha256": read.sha256,
                "posts": len(read.posts),
                "with_pictures": sum(bool(post.images) for post in read.posts),
                "sentiment": dict(
                    sorted(Counter(p.sentiment for p in read.posts if p.sentiment).items())
                ),
                "sarcastic": sum(post.sarcastic is True for post in read.posts),
                "literal": sum(post.sarcastic is False for post in read.posts),
                **{
                    name: dict(sorted(Counter(map(str, labels)).items()))
                    for name in ("offensive", "hateful", "language", *AUXILIARY)
                    if (labels := [v for p in read.posts if (v := getattr(p, name)) is not None])
                },
            }
            for file, read in zip(self.files, self.read, strict=True)
        ]


def read_corpora(
    train_files: Sequence[DataFile],
    dev_files: Sequence[DataFile],
    prepare: TextPreparer,
    *,
    needs_dev: bool = True,
) -> tuple[Corpus, Corpus]:
    """What is trained on, and what is measured on: dev files, and what training files hold out.

    Raises:
        DataError: with every problem of every file.
    """
    problems: list[str] = []
    corpora: list[Corpus] = []
    held = [dataclasses.replace(file, held=True) for file in train_files if file.hold_out]
    dev_files = [*dev_files, *held]
    for kind, files in (("--train", train_files), ("--dev", dev_files)):
        if not files and (needs_dev or kind == "--train"):
            problems.append(f"no {kind} file is given; name at least one posts file (JSONL)")
        titles = [file.title for file in files]
        problems += [
            f"two {kind} files are called {title!r}; give them different names"
            for title in sorted({title for title in titles if titles.count(title) > 1})
        ]
        try:
            corpora.append(Corpus(files, prepare))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return corpora[0], corpora[1]


def without_leaks(train: Corpus, dev: Corpus) -> tuple[list[Row], Removed, list[str]]:
    """The rows to learn from: labelled, once each, and nothing that a dev file holds.

    Returns:
        The rows, how many were left out and why, and a sentence with file and line for each that
        was left out though it has a label.
    """
    dev_texts = {row.text_key: row.post for row in reversed(dev.rows) if row.text_key}
    dev_images = {key: row.post for row in reversed(dev.rows) for key in row.image_keys}
    pictured = {row.text_key: row.post for row in train.rows if row.text_key and row.image_keys}
    counts: Counter[str] = Counter()
    kept: dict[tuple[Any, ...], Row] = {}
    listed: list[str] = []

    def leave_out(row: Row, why: str, what: str, other: LabelledPost) -> None:
        counts[why] += 1
        listed.append(f"{row.post.place}: {what} in {other.place}; not used for training")

    for row in train.rows:
        post = row.post
        labels = _labels(post)
        identity = (row.text_key, row.image_keys, labels, train.files[row.file].labelling)
        shown = next((key for key in row.image_keys if key in dev_images), None)
        if not labels:
            counts["unlabelled"] += 1
        elif row.text_key in dev_texts:
            leave_out(row, "text_in_dev", "the same words are", dev_texts[row.text_key])
        elif shown is not None:
            leave_out(row, "image_in_dev", "the same picture is", dev_images[shown])
        elif not row.image_keys and row.text_key in pictured:
            what = "the same words, with a picture, are"
            leave_out(row, "with_pictures", what, pictured[row.text_key])
        elif identity in kept:
            what = "the same words, pictures and labels are"
            leave_out(row, "repeated", what, kept[identity].post)
        else:
            kept[identity] = row
    removed = Removed(**{each.name: counts[each.name] for each in dataclasses.fields(Removed)})
    return list(kept.values()), removed, listed


def _labels(post: LabelledPost) -> tuple[object, ...]:
    """What is known of a post; () for nothing."""
    found = {name: label for name, label in label_of(post).items() if label >= 0}
    found |= {name: value for name in AUXILIARY if (value := getattr(post, name))}
    return tuple(sorted(found.items()))


def with_ocr(rows: Sequence[Row], texts: Mapping[str, str], prepare: TextPreparer) -> list[Row]:
    """The rows with the words in their pictures; `texts` are by a picture's SHA-256."""
    found = []
    for row in rows:
        read = [texts[key] for key in row.image_keys if texts.get(key)]
        ids = prepare(row.post.text, read)[1] if read else ()
        found.append(dataclasses.replace(row, ocr_token_ids=ids))
    return found


def tell_left_out(left_out: Sequence[str], path: Path, report: Callable[[str], None]) -> None:
    """List the posts that are not learnt from: a few here, all of them in a file.

    Args:
        left_out: a sentence each, as `without_leaks` gives them.
        path: of the file; with no sentence it is left as it is.
        report: gets the first ten.

    Raises:
        ModelError: the file cannot be written.
    """
    if not left_out:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(left_out) + "\n", encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --cache"
        ) from error
    for line in left_out[:_LEFT_OUT_SHOWN]:
        report(line)
    if len(left_out) > _LEFT_OUT_SHOWN:
        report(f"and {len(left_out) - _LEFT_OUT_SHOWN} more, all listed in {path}")


def check_labels(rows: Sequence[Row], dev: Corpus) -> None:
    """See that there is something to learn from and to measure by.

    Raises:
        DataError: there is none, with what to add.
    """
    problems = []
    if not rows:
        problems.append("no labelled post is left to learn from; add training files")
    problems += [
        f"{read.path}: no post has a label; a dev file needs `sentiment`, `sarcastic` or another"
        for read in dev.read
        if not any(map(_labels, read.posts))
    ]
    if problems:
        raise DataError(problems)
