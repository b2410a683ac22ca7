"""What goes into the model for one post, and what comes out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SENTIMENTS = ("negative", "neutral", "positive")
"""Labels of the sentiment head, in the order of its logits."""

SARCASM_LABELS = ("literal", "sarcastic")
"""Labels of the sarcasm head, in the order of its logits."""


class Sentiment(NamedTuple):
    """Probabilities that sum to 1."""

    negative: float
    neutral: float
    positive: float

    @property
    def label(self) -> str:
        """The most probable of `SENTIMENTS`."""
        return max(zip(self, SENTIMENTS, strict=True))[1]


@dataclass(frozen=True, slots=True)
class Scores:
    """One read-out of the model.

    Attributes:
        sentiment: probabilities of the three sentiments.
        sarcasm: probability that the post is meant sarcastically.
    """

    sentiment: Sentiment
    sarcasm: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model returns for one post.

    Attributes:
        fused: words and pictures together.
        text_alone: the words only; None when the post has none.
        image_alone: the pictures only; None when no picture of the post could be seen.
    """

    fused: Scores
    text_alone: Scores | None
    image_alone: Scores | None

    @property
    def disagreement(self) -> float | None:
        """How far words and pictures differ: the total variation of their sentiments, 0 to 1.

        None when the post has only one of them.
        """
        if self.text_alone is None or self.image_alone is None:
            return None
        pairs = zip(self.text_alone.sentiment, self.image_alone.sentiment, strict=True)
        return 0.5 * sum(abs(text - image) for text, image in pairs)

    @property
    def opposition(self) -> float | None:
        """How likely one of words and pictures is positive and the other negative, 0 to 1.

        It tells pairs whose annotators contradicted each other from others better than
        `disagreement` does (docs/calibration.md). None when the post has only one of them.
        """
        if self.text_alone is None or self.image_alone is None:
            return None
        text, image = self.text_alone.sentiment, self.image_alone.sentiment
        return text.negative * image.positive + text.positive * image.negative


@dataclass(frozen=True, slots=True)
class UndecodedImage:
    """A picture as it was downloaded.

    Attributes:
        content: an undecoded file.
        sha256: of it, in hexadecimal.
    """

    content: bytes
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> UndecodedImage:
        """With its hash."""
        return cls(content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A picture that can be decoded.

    Attributes:
        source: it, undecoded; its hash names the picture in content hash and caches.
        pixels: uint8 [image_size, image_size, 3], RGB: what the image encoder sees; None where
            what it sees in them is known already.
        features: float16 [regions, dim], what the image encoder saw in them before; None where it
            is not known.
    """

    source: UndecodedImage
    pixels: npt.NDArray[np.uint8] | None
    features: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """A picture that could not be decoded, and why, in words for a moderator."""

    problem: str


@dataclass(frozen=True, slots=True)
class PreparedPost:
    """A post ready for the model.

    Attributes:
        text: normalised text, as the tokenizer saw it; empty when there are no words.
        token_ids: ids with the tokenizer's special tokens, cut to the model's limit; not padded.
        images: one entry for every image given, in order.
    """

    text: str
    token_ids: tuple[int, ...]
    images: tuple[PreparedImage | ImageProblem, ...]

    @property
    def seen(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """All that the model sees of it: posts with the same have the same prediction."""
        images = (image for image in self.images if isinstance(image, PreparedImage))
        return self.token_ids, tuple(image.source.sha256 for image in images)
