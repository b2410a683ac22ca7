"""What goes into the model for one post, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

SENTIMENTS = ("negative", "neutral", "positive")
"""Labels of the sentiment head, in the order of its logits."""

QUESTIONS = {
    "sentiment": SENTIMENTS,
    "sarcasm": ("literal", "sarcastic"),
    "offensive": ("inoffensive", "offensive"),
    "hateful": ("not hateful", "hateful"),
}
"""What a model may be asked, and the labels of each answer in the order of its logits. All but the
first are yes or no, and the last label is yes."""

YES = 1
"""Of the questions that are answered by yes or no, the place of yes."""

OF_WORDS = ("offensive", "hateful")
"""Questions that are asked of words alone."""


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
        offensive: probability that its words are offensive; None without words, and of a model that
            was not asked.
        hateful: the same of hateful words.
        windows: of a long text, by question, the window that the answer is of: the worst one.
            Empty where the text has one.
    """

    sentiment: Sentiment
    sarcasm: float
    offensive: float | None = None
    hateful: float | None = None
    windows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model returns for one post: from words and pictures together, from words alone (None
    when it has none) and from pictures alone (None when none could be seen)."""

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


class Undecoded(Protocol):
    """A picture's file, decoded when somebody looks at it; ImageError when it cannot be."""

    def squares(self) -> Sequence[npt.NDArray[np.uint8]]:
        """See `PreparedImage`."""
        ...

    def thumbnail(self) -> npt.NDArray[np.uint8]:
        """See `PreparedImage`."""
        ...


class PreparedImage:
    """A picture, decoded as far as somebody needed it.

    Most pictures need no thumbnail, because their post is not flagged, and those whose features
    are known need no pixels. What is decoded stays, as long as the post is in hand.

    Args:
        sha256: of the undecoded file, in hexadecimal; names the picture in content hash and caches.
        squares: uint8 [image_size, image_size, 3] each, RGB: what the image encoder sees; of an
            animation, the frames that are judged.
        thumbnail: uint8 [height, width, 3], RGB, at most 512 on the long side: evidence; of an
            animation, those frames on one sheet.
        unread: what of the file is in neither, in words for a moderator.
        features: float16 [regions, dim], where the picture was encoded before.
        file: decodes what is not given. A picture without one was made by us, and is no file's.
    """

    __slots__ = ("_squares", "_thumbnail", "features", "file", "sha256", "unread")

    def __init__(
        self,
        sha256: str,
        squares: Sequence[npt.NDArray[np.uint8]] | None = None,
        thumbnail: npt.NDArray[np.uint8] | None = None,
        unread: str | None = None,
        *,
        features: npt.NDArray[np.float16] | None = None,
        file: Undecoded | None = None,
    ) -> None:
        self.sha256 = sha256
        self.features = features
        self.file = file
        self._squares = squares
        self._thumbnail = thumbnail
        self.unread = unread

    @property
    def squares(self) -> Sequence[npt.NDArray[np.uint8]]:
        """uint8 [image_size, image_size, 3] each; ImageError if they cannot be decoded."""
        if self._squares is None:
            self._squares = self._undecoded().squares()
        return self._squares

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The first of `squares`."""
        return self.squares[0]

    @property
    def frames(self) -> int:
        """How many `squares` there are; more than one makes `unread`, and of what is not read in
        whole no features are kept, so a picture that was never decoded here has one."""
        return 1 if self._squares is None else len(self._squares)

    @property
    def thumbnail(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width, 3]; ImageError if it cannot be decoded."""
        if self._thumbnail is None:
            self._thumbnail = self._undecoded().thumbnail()
        return self._thumbnail

    def _undecoded(self) -> Undecoded:
        if self.file is None:
            raise ValueError(f"picture {self.sha256} was made without pixels and without a file")
        return self.file


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """A picture that could not be decoded, and why, in words for a moderator."""

    problem: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Something of a post that the model was not shown, in whole or in part: `problem` says what,
    in words for a moderator; `index` is that of the image among the post's."""

    what: Literal["text", "image"]
    problem: str
    index: int | None = None

    def as_row(self) -> dict[str, object]:
        """As a verdict has it: `{"what", "problem"}`, and `"index"` of an image."""
        place = {} if self.index is None else {"index": self.index}
        return {"what": self.what, **place, "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a post's words that the model reads at once, where it cannot read all of them.

    Attributes:
        text: as the tokenizer saw it.
        token_ids: of it, with the tokenizer's special tokens; not padded.
        own: the part of the post's own words: first character, and after the last, in the post's
            whole text.
        in_pictures: the same of the words in its pictures; empty where it has none.
    """

    text: str
    token_ids: tuple[int, ...]
    own: tuple[int, int]
    in_pictures: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PreparedPost:
    """A post ready for the model.

    Attributes:
        text: normalised text, as the tokenizer saw it; empty when there are no words.
        token_ids: ids with the tokenizer's special tokens, of all words or of the first window;
            not padded.
        images: one entry for every image given, in order.
        unread: what of it is in neither.
        windows: of a text that is too long to be read at once; else none.
        language: of its words, such as `de`; None where nobody can tell.
    """

    text: str
    token_ids: tuple[int, ...]
    images: tuple[PreparedImage | ImageProblem, ...]
    unread: tuple[Unread, ...] = ()
    windows: tuple[Window, ...] = ()
    language: str | None = None
