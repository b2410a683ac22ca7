"""Labelled posts as batches, without what training must not see."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from deadpan.core.errors import DataError
from models.data.posts_file import LabelledPost, PostsFile, read_posts
from models.engines.base import pad
from models.evaluation.judge import labels_of
from models.posts.text import TextPreparer
from models.training.features import FeatureCache
from models.training.settings import DataFile

UNKNOWN = -1


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
    """

    post: LabelledPost
    file: int
    text_key: str
    token_ids: tuple[int, ...]
    image_keys: tuple[str, ...]
    ocr_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """Posts of the training files that are not learnt from, and why.

    Attributes:
        text_in_dev: the same normalised text stands in a dev file.
        image_in_dev: the same picture stands in a dev file (and not the same text).
        repeated: the same words, pictures and labels came before.
        unlabelled: no label.
    """

    text_in_dev: int
    image_in_dev: int
    repeated: int
    unlabelled: int

    def __str__(self) -> str:
        return (
            f"left out {self.text_in_dev} whose words and {self.image_in_dev} whose picture are in "
            f"a dev file, {self.repeated} repeats and {self.unlabelled} without a label"
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
        return Row(post, file, key, token_ids, tuple(images))

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
            }
            for file, read in zip(self.files, self.read, strict=True)
        ]


def without_leaks(train: Corpus, dev: Corpus) -> tuple[list[Row], Removed, list[str]]:
    """The rows to learn from: labelled, once each, and nothing that a dev file holds.

    Returns:
        The rows, how many were left out and why, and a sentence with file and line for each that
        was left out though it has a label.
    """
    dev_texts = {row.text_key: row.post for row in reversed(dev.rows) if row.text_key}
    dev_images = {key: row.post for row in reversed(dev.rows) for key in row.image_keys}
    counts: Counter[str] = Counter()
    kept: dict[tuple[Any, ...], Row] = {}
    listed: list[str] = []

    def leave_out(row: Row, why: str, what: str, other: LabelledPost) -> None:
        counts[why] += 1
        listed.append(f"{row.post.place}: {what} in {other.place}; not used for training")

    for row in train.rows:
        post = row.post
        identity = (row.text_key, row.image_keys, post.sentiment, post.sarcastic)
        shown = next((key for key in row.image_keys if key in dev_images), None)
        if post.sentiment is None and post.sarcastic is None:
            counts["unlabelled"] += 1
        elif row.text_key in dev_texts:
            leave_out(row, "text_in_dev", "the same words are", dev_texts[row.text_key])
        elif shown is not None:
            leave_out(row, "image_in_dev", "the same picture is", dev_images[shown])
        elif identity in kept:
            what = "the same words, pictures and labels are"
            leave_out(row, "repeated", what, kept[identity].post)
        else:
            kept[identity] = row
    removed = Removed(**{each.name: counts[each.name] for each in dataclasses.fields(Removed)})
    return list(kept.values()), removed, listed


def with_ocr(rows: Sequence[Row], texts: Mapping[str, str], prepare: TextPreparer) -> list[Row]:
    """The rows with the words in their pictures; `texts` are by a picture's SHA-256."""
    found = []
    for row in rows:
        read = [texts[key] for key in row.image_keys if texts.get(key)]
        ids = prepare(row.post.text, read)[1] if read else ()
        found.append(dataclasses.replace(row, ocr_token_ids=ids))
    return found


class PostSet(Dataset[dict[str, Any]]):
    """Rows with labels and weights, and their pictures' features or pixels."""

    def __init__(
        self,
        rows: Sequence[Row],
        files: Sequence[DataFile],
        images: FeatureCache,
        ocr_share: float = 0.0,
    ) -> None:
        """Gather labels and weights.

        Args:
            files: that the rows' `file` counts in; each weighs its labels by its `class_balance`.
            images: by SHA-256; a picture that is not in it could not be decoded.
            ocr_share: how often words in pictures are joined to a post's own, by chance.
        """
        self.ocr_share = ocr_share
        posts = [row.post for row in rows]
        self.rows = list(rows)
        self.images = images
        self.file = np.array([row.file for row in rows])
        self.labels = labels_of(posts)
        self.weights = {
            head: _weights(labels, self.file, files) for head, labels in self.labels.items()
        }

    @property
    def lengths(self) -> list[int]:
        """Tokens of each post."""
        joined = self.ocr_share > 0.5
        return [len((joined and row.ocr_token_ids) or row.token_ids) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        joined = bool(row.ocr_token_ids) and float(torch.rand(())) < self.ocr_share
        return {
            "token_ids": row.ocr_token_ids if joined else row.token_ids,
            "images": [self.images[key] for key in row.image_keys if key in self.images],
            **{head: labels[index] for head, labels in self.labels.items()},
            **{f"{head}_weight": weights[index] for head, weights in self.weights.items()},
        }


class Collator:
    """Posts to a batch.

    Args:
        picture_shape: of what stands for a picture when a batch has none: [1, dim] of features or
            [1, 1, 3] of pixels.
    """

    def __init__(self, picture_shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._none = torch.zeros(0, *picture_shape, dtype=dtype)

    def __call__(self, posts: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """What `TrainingModule.forward` takes.

        Returns:
            "token_ids" and "attention_mask" [batch, tokens]; "has_text" [batch]; "pictures"
            [pictures, ...] of all posts together; "image_index" [batch, images], rows of
            "pictures", -1 for none; labels and weights [batch] of both heads.
        """
        texts = [post["token_ids"] for post in posts]
        ids, mask = map(
            torch.from_numpy, pad(texts, rows=len(texts), tokens=max(1, *map(len, texts), 1))
        )
        has_text = mask.any(dim=1)
        # an encoder needs a token to look at, even if nothing looks at the encoder
        mask[:, 0] = 1
        pictures = [torch.from_numpy(image) for post in posts for image in post["images"]]
        index = torch.full((len(posts), max(1, *(len(post["images"]) for post in posts), 1)), -1)
        count = 0
        for row, post in enumerate(posts):
            for column in range(len(post["images"])):
                index[row, column] = count
                count += 1
        return {
            "token_ids": ids,
            "attention_mask": mask,
            "has_text": has_text,
            "pictures": torch.stack(pictures) if pictures else self._none,
            "image_index": index,
            **{
                name: torch.tensor(np.array([post[name] for post in posts]))
                for name in ("sentiment", "sarcasm", "sentiment_weight", "sarcasm_weight")
            },
        }


class LengthGroupedSampler(Sampler[int]):
    """Another order every epoch, in which a batch's posts are of about one length.

    Follows from seed and epoch alone, so that a run that goes on sees the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = np.array(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; called by the loader."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(len(self._lengths))
        batches: list[npt.NDArray[np.int64]] = []
        # sorting 50 batches at a time leaves batches of one length varied in all else
        for start in range(0, len(order), 50 * self._batch_size):
            part = order[start : start + 50 * self._batch_size]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [
                part[first : first + self._batch_size]
                for first in range(0, len(part), self._batch_size)
            ]
        # the short batch stays last, or all after it would straddle two lengths
        whole = [batch for batch in batches if len(batch) == self._batch_size]
        for number in random.permutation(len(whole)):
            yield from whole[number].tolist()
        for batch in batches:
            if len(batch) < self._batch_size:
                yield from batch.tolist()


def _weights(
    labels: npt.NDArray[np.int64], file: npt.NDArray[np.int64], files: Sequence[DataFile]
) -> npt.NDArray[np.float32]:
    """Weights of posts: in each file, frequent labels count less; the mean over a file is 1."""
    weights = np.zeros(len(labels), dtype=np.float32)
    for index, one in enumerate(files):
        chosen = (file == index) & (labels != UNKNOWN)
        if chosen.any():
            counts = np.bincount(labels[chosen])
            found = counts[labels[chosen]] ** -one.class_balance
            weights[chosen] = found / found.mean()
    return weights
