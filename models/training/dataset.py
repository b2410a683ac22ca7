"""Labelled posts as tensors, without what training must not see."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from deadpan.errors import DataError
from models.config import ModelConfig
from models.evaluation.judge import sarcasm_labels, sentiment_labels
from models.posts_file import LabelledPost, PostsFile, read_posts
from models.text import TextPreparer
from models.training.features import FeatureCache, text_key
from models.training.settings import DataFile

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Row:
    """A post, by the keys of its features.

    Attributes:
        post: as it was read.
        file: index of its file.
        text_key: "" when it has no words.
        image_keys: SHA-256 of its pictures.
    """

    post: LabelledPost
    file: int
    text_key: str
    image_keys: tuple[str, ...]


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


class Corpus:
    """Rows of several files, with what the encoders need for them."""

    def __init__(self, files: Sequence[DataFile], prepare: TextPreparer) -> None:
        """Read every file.

        Raises:
            DataError: with the problems of all files at once.
        """
        self.files = tuple(files)
        self.read: list[PostsFile] = []
        self.rows: list[Row] = []
        self.token_ids: dict[str, tuple[int, ...]] = {}
        self.image_paths: dict[str, Path] = {}
        problems: list[str] = []
        for index, file in enumerate(self.files):
            try:
                read = read_posts(file.path)
            except DataError as error:
                problems += error.problems
                continue
            self.read.append(read)
            self.rows += [self._row(post, index, prepare) for post in read.posts]
        if problems:
            raise DataError(problems)

    def _row(self, post: LabelledPost, file: int, prepare: TextPreparer) -> Row:
        normalised, token_ids = prepare(post.text)
        key = text_key(normalised) if token_ids else ""
        if key:
            self.token_ids[key] = token_ids
        images = []
        for path in post.images:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            self.image_paths[sha256] = path
            images.append(sha256)
        return Row(post, file, key, tuple(images))

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


def without_leaks(train: Corpus, dev: Corpus) -> tuple[list[Row], Removed]:
    """The rows to learn from: labelled, once each, and nothing that a dev file holds."""
    dev_texts = {row.text_key for row in dev.rows if row.text_key}
    dev_images = {key for row in dev.rows for key in row.image_keys}
    counts: Counter[str] = Counter()
    kept: dict[tuple[Any, ...], Row] = {}
    for row in train.rows:
        post = row.post
        identity = (row.text_key, row.image_keys, post.sentiment, post.sarcastic)
        if post.sentiment is None and post.sarcastic is None:
            counts["unlabelled"] += 1
        elif row.text_key in dev_texts:
            counts["text_in_dev"] += 1
        elif not dev_images.isdisjoint(row.image_keys):
            counts["image_in_dev"] += 1
        elif identity in kept:
            counts["repeated"] += 1
        else:
            kept[identity] = row
    removed = Removed(
        **{name: counts[name] for name in ("text_in_dev", "image_in_dev", "repeated", "unlabelled")}
    )
    return list(kept.values()), removed


class PostTable(Dataset[dict[str, Tensor]]):
    """Rows as tensors, handed out a batch at a time.

    Legend: `posts` rows; `pictures` rows of `images`, of which the first is zero and stands for
    none; `text_dim` and `image_dim` widths.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: ModelConfig,
        texts: FeatureCache,
        images: FeatureCache,
        file_balance: float = 1.0,
    ) -> None:
        """Gather features.

        Args:
            rows: at least one.
            config: of the model.
            texts: features by text key.
            images: features by SHA-256; a picture that is not in it could not be decoded.
            file_balance: 1 weighs all posts alike, 0 all files alike.
        """
        posts = [row.post for row in rows]
        self.file = torch.tensor([row.file for row in rows])
        self.sentiment = torch.from_numpy(sentiment_labels(posts))
        self.sarcasm = torch.from_numpy(sarcasm_labels(posts))
        self.has_text = torch.tensor([bool(row.text_key) for row in rows])
        self.text = torch.zeros(len(rows), config.text.dim)
        pictures = [torch.zeros(config.image.dim)]
        self.picture = torch.zeros(len(rows), dtype=torch.int64)
        for index, row in enumerate(rows):
            if row.text_key:
                self.text[index] = torch.from_numpy(texts[row.text_key])
            seen = [torch.from_numpy(images[key]) for key in row.image_keys if key in images]
            if seen:
                self.picture[index] = len(pictures)
                pictures.append(torch.stack(seen).mean(dim=0))
        self.images = torch.stack(pictures)
        self.has_image = self.picture > 0
        sizes = torch.bincount(self.file).clamp(min=1).double()
        weight = sizes[self.file].pow(file_balance - 1.0)
        self.weight = (weight / weight.mean()).float()

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch in one gather: [batch, ...] of what `FusionTrainingModule.forward` takes."""
        chosen = torch.as_tensor(indices)
        return {
            "text": self.text[chosen],
            "image": self.images[self.picture[chosen]],
            "has_text": self.has_text[chosen],
            "has_image": self.has_image[chosen],
            "sentiment": self.sentiment[chosen],
            "sarcasm": self.sarcasm[chosen],
            "weight": self.weight[chosen],
        }


def as_batch(batch: Any) -> Any:
    """Collate: `PostTable` hands out whole batches already, and not lists of posts."""
    return batch
