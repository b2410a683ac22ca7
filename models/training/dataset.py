"""Labelled posts as batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from models.engines.base import pad
from models.training.corpus import Row
from models.training.features import FeatureCache
from models.training.settings import DataFile
from models.training.targets import UNKNOWN, Target, labels_by_target


class PostSet(Dataset[dict[str, Any]]):
    """Rows with labels and weights, and their pictures' features or pixels."""

    def __init__(
        self,
        rows: Sequence[Row],
        files: Sequence[DataFile],
        targets: Sequence[Target],
        images: FeatureCache,
        ocr_share: float = 0.0,
    ) -> None:
        """Gather labels and weights.

        Args:
            targets: what there are labels for, in the order of the columns.
            files: that the rows' `file` counts in; each weighs its labels by its `class_balance`.
            images: by SHA-256; a picture that is not in it could not be decoded.
            ocr_share: how often words in pictures are joined to a post's own, by chance.
        """
        self.ocr_share = ocr_share
        self.rows = list(rows)
        self.images = images
        self.targets = tuple(targets)
        self.file = np.array([row.file for row in rows])
        self.labels = labels_by_target(targets, rows, files)
        self.weights = np.zeros(self.labels.shape, dtype=np.float32)
        for column in range(len(targets)):
            self.weights[:, column] = _weights(self.labels[:, column], self.file, files)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which targets any post has a label for: bool [targets]."""
        found: npt.NDArray[np.bool_] = (self.labels != UNKNOWN).any(axis=0)
        return found

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all in it that training depends on."""
        digest = hashlib.sha256(np.unique(self.file, return_inverse=True)[1].tobytes())
        for column in np.flatnonzero(self.known):
            target = self.targets[column]
            digest.update(repr((target.name, target.labels)).encode())
            digest.update(self.labels[:, column].tobytes())
            digest.update(self.weights[:, column].tobytes())
        for row in self.rows:
            pictures = [key for key in row.image_keys if key in self.images]
            digest.update(repr((row.token_ids, row.ocr_token_ids, pictures)).encode())
        return digest.hexdigest()

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
            "labels": self.labels[index],
            "weights": self.weights[index],
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
            "pictures", -1 for none; "labels" and "weights" [batch, targets].
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
                for name in ("labels", "weights")
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
