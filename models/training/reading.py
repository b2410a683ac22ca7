"""Reading what a recipe names: the posts to learn from, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from deadpan.core.errors import DataError, ModelError
from models.posts.text import TextPreparer
from models.training.dataset import Corpus, Row
from models.training.settings import DataFile

_LEFT_OUT_SHOWN = 10


def read_corpora(
    train_files: Sequence[DataFile], dev_files: Sequence[DataFile], prepare: TextPreparer
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
        if not files:
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
        f"{read.path}: no post has a label; a dev file needs `sentiment` or `sarcastic`"
        for read in dev.read
        if all(post.sentiment is None and post.sarcastic is None for post in read.posts)
    ]
    if problems:
        raise DataError(problems)
