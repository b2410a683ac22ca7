"""Which words and which parts of a picture moved a score: by leaving each out. Needs no torch.

Occlusion (Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 2014) asks the
model itself and nothing of its inside, so it holds for every encoder, fusion and engine. It costs a
prediction for every part left out, which is why the parts are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.posts import frames
from models.posts.normal_form.normalise import trace_text
from models.posts.prediction import (
    OF_WORDS,
    Prediction,
    PreparedImage,
    PreparedPost,
    Scores,
    Window,
)
from models.posts.text import OCR_MARKER

MAX_WORDS = 128
"""Words looked at; the model reads at most as many tokens, and a word is at least one."""

_BETWEEN = ("disagreement", "opposition")
"""Scores that compare words with pictures."""

_WORD = re.compile(r"\S+")
_SCORE = re.compile(
    r"(?:(?P<read_out>text_alone|image_alone)\.)?"
    r"(?:(?P<yes>sarcasm|offensive|hateful)|sentiment\.(?P<label>negative|neutral|positive))"
)
_REGION_FIELDS = ("image", "x0", "y0", "x1", "y1", "effect")


class Model(Protocol):
    """What of a `Classifier` is needed."""

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of a prepared post's text, or of a part of it."""
        ...

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        """Judge posts."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is left out, one part at a time.

    Attributes:
        runs: of words, at most: a text of more words is cut into so many; 0 leaves words alone.
        grid: a picture is cut into so many rows and columns; 0 leaves pictures alone.
        images: of a post, at most; the others are not looked at.
    """

    runs: int = 16
    grid: int = 4
    images: int = 1


@dataclass(frozen=True, slots=True)
class WordEffect:
    """A word, or a run of words.

    Attributes:
        start: first character in the normalised text.
        end: after the last character.
        word: what stands there.
        effect: by how much the score is higher with it than without.
        original: where it stands in the text as its author wrote it, first character and after the
            last, where that is known.
    """

    start: int
    end: int
    word: str
    effect: float
    original: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class RegionEffect:
    """A part of a picture.

    Attributes:
        image: position among the post's pictures.
        x0, y0, x1, y1: left, top, right and bottom, as fractions of width and height.
        effect: by how much the score is higher with it than with its place in the mean colour.
    """

    image: int
    x0: float
    y0: float
    x1: float
    y1: float
    effect: float


Part = WordEffect | RegionEffect
"""What is left out."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moved a score.

    Attributes:
        score: its name, as policies know it.
        method: "occlusion"; rows of before may say "features", which was rougher.
        value: of the whole post.
        words: in the order of the text.
        regions: row by row.
        disagreement: of words and pictures, None when the post has only one of them.
        window: of a text that is read in windows, the part that decided: first character and after
            the last, in the normalised text.
    """

    score: str
    method: str
    value: float
    words: tuple[WordEffect, ...]
    regions: tuple[RegionEffect, ...]
    disagreement: float | None
    window: tuple[int, int] | None = None

    def as_row(self) -> dict[str, Any]:
        """Plain objects, for a table or JSON; effects with four decimals."""
        window = self.window and {"window": {"start": self.window[0], "end": self.window[1]}}
        return {
            **(window or {}),
            "score": self.score,
            "method": self.method,
            "value": round(self.value, 4),
            "disagreement": None if self.disagreement is None else round(self.disagreement, 4),
            "words": [
                {
                    "start": one.start,
                    "end": one.end,
                    "word": one.word,
                    "effect": round(one.effect, 4),
                    **({"original": list(one.original)} if one.original else {}),
                }
                for one in self.words
            ],
            "regions": [
                {name: round(getattr(one, name), 4) for name in _REGION_FIELDS}
                for one in self.regions
            ],
        }


def explain(
    model: Model,
    posts: Sequence[PreparedPost],
    score_names: Sequence[str],
    limits: Limits | None = None,
    *,
    predictions: Sequence[Prediction] | None = None,
) -> list[Explanation | None]:
    """Explain a score of each post, all in one batch.

    Args:
        model: the one that judged them.
        posts: any number.
        score_names: of each post, as policies name them; "degraded" and "unread" are nothing
            the model said.
        limits: how much is left out.
        predictions: of each post, where a text may be read in windows: the window that decided is
            what is explained. Without them the first is.

    Returns:
        An explanation of each post, in order; None where the post does not have the score.
    """
    limits = limits or Limits()
    windows = [
        _deciding(post, name, predictions[row] if predictions else None)
        for row, (post, name) in enumerate(zip(posts, score_names, strict=True))
    ]
    read = [
        replace(post, text=window.text, token_ids=window.token_ids, windows=()) if window else post
        for post, window in zip(posts, windows, strict=True)
    ]
    parts = [_parts(post, name, limits) for post, name in zip(read, score_names, strict=True)]
    found = _occluded(model, read, parts)
    return [
        _explanation(name, post, cuts, of_post, window)
        for name, post, cuts, of_post, window in zip(
            score_names, read, parts, found, windows, strict=True
        )
    ]


def as_written(explanation: Explanation, text: str) -> Explanation:
    """The same, and where its words stand in the post's text as its author wrote it.

    Args:
        explanation: of a prepared post.
        text: as its author wrote it; those in its pictures stand nowhere in it.
    """
    traced = trace_text(text)
    words = [
        replace(word, original=traced.original(word.start, word.end))
        if traced.text[word.start : word.end] == word.word
        else word
        for word in explanation.words
    ]
    return replace(explanation, words=tuple(words))


def is_explainable(name: str) -> bool:
    """Whether a score, named as policies name it, is one of what the model says of a post."""
    return name in _BETWEEN or _SCORE.fullmatch(name) is not None


def score_of(prediction: Prediction, name: str) -> float | None:
    """A score by the name that policies know it by; None when the prediction has no such score."""
    if name in _BETWEEN:
        between: float | None = getattr(prediction, name)
        return between
    match = _SCORE.fullmatch(name)
    if match is None:
        return None
    scores: Scores | None = getattr(prediction, match["read_out"] or "fused")
    if scores is None:
        return None
    found: float | None = (
        getattr(scores, match["yes"]) if match["yes"] else getattr(scores.sentiment, match["label"])
    )
    return found


def _deciding(post: PreparedPost, name: str, prediction: Prediction | None) -> Window | None:
    """The window that a score is of; None where the post has one."""
    if not post.windows:
        return None
    match = _SCORE.fullmatch(name)
    read_out = (match["read_out"] if match else None) or ("fused" if match else "text_alone")
    scores: Scores | None = getattr(prediction, read_out, None)
    if scores is None:
        return post.windows[0]
    question = (match["yes"] if match else None) or "sentiment"
    return post.windows[scores.windows.get(question, 0)]


def _parts(post: PreparedPost, name: str, limits: Limits) -> list[Part]:
    """What to leave out, words first; nothing of a modality that the score does not look at."""
    if not is_explainable(name):
        return []
    words = [] if name.startswith("image_alone.") else _runs(post.text, limits.runs)
    of_words = name.startswith("text_alone.") or name in OF_WORDS
    regions = [] if of_words else _regions(post, limits)
    return [*words, *regions]


def _runs(text: str, most: int) -> list[WordEffect]:
    spans = [match.span() for match in islice(_WORD.finditer(text), MAX_WORDS)]
    size = -(-len(spans) // most) if most else 0
    if not size or len(spans) < 2:
        # one word left out leaves no text, which is another question
        return []
    return [
        WordEffect(run[0][0], run[-1][1], text[run[0][0] : run[-1][1]], 0.0)
        for run in (spans[start : start + size] for start in range(0, len(spans), size))
    ]


def _regions(post: PreparedPost, limits: Limits) -> list[RegionEffect]:
    seen = [i for i, image in enumerate(post.images) if isinstance(image, PreparedImage)]
    grid = limits.grid
    return [
        RegionEffect(image, x / grid, y / grid, (x + 1) / grid, (y + 1) / grid, 0.0)
        for image in seen[: limits.images]
        for y in range(grid)
        for x in range(grid)
    ]


def _occluded(
    model: Model, posts: Sequence[PreparedPost], parts: Sequence[Sequence[Part]]
) -> list[list[Prediction]]:
    """Every post judged as it is, and again without each of its parts."""
    batch: list[PreparedPost] = []
    for post, cuts in zip(posts, parts, strict=True):
        batch += [post, *(_without(model, post, cut) for cut in cuts)]
    predictions = iter(model.predict(batch) if batch else [])
    return [list(islice(predictions, 1 + len(cuts))) for cuts in parts]


def _without(model: Model, post: PreparedPost, part: Part) -> PreparedPost:
    if isinstance(part, WordEffect):
        text = text_without(post.text, part)
        return replace(post, text=text, token_ids=model.encode(text))
    image = post.images[part.image]
    assert isinstance(image, PreparedImage)
    squares = [_without_place(square, part) for square in image.squares]
    # another picture needs another name: the model computes pictures of one name once
    name = f"{image.sha256} without {part.x0},{part.y0}"
    images = list(post.images)
    images[part.image] = PreparedImage(name, squares)
    return replace(post, images=tuple(images))


def text_without(text: str, word: WordEffect) -> str:
    """A prepared text without a word or a run of them; it is normalised already, and may say which
    of its words stand in a picture."""
    return f"{text[: word.start].rstrip(' ')}{text[word.end :]}"


def _without_place(square: npt.NDArray[np.uint8], region: RegionEffect) -> npt.NDArray[np.uint8]:
    left: npt.NDArray[np.uint8] = square.copy()
    height, width = left.shape[:2]
    rows = slice(round(region.y0 * height), round(region.y1 * height))
    columns = slice(round(region.x0 * width), round(region.x1 * width))
    left[rows, columns] = square.mean(axis=(0, 1)).astype(np.uint8)
    return left


def _explanation(
    name: str,
    post: PreparedPost,
    parts: Sequence[Part],
    predictions: Sequence[Prediction],
    window: Window | None,
) -> Explanation | None:
    """Compare what was said of a post with what was said without each of its parts."""
    value, *without = (score_of(one, name) for one in predictions)
    if value is None:
        return None
    words: list[WordEffect] = []
    regions: list[RegionEffect] = []
    for part, score in zip(parts, without, strict=True):
        effect = 0.0 if score is None else value - score
        if isinstance(part, WordEffect):
            words.append(_in_whole(part, effect, window))
        else:
            regions += _as_seen(post, part, effect)
    return Explanation(
        score=name,
        method="occlusion",
        value=value,
        words=tuple(words),
        regions=tuple(regions),
        disagreement=predictions[0].disagreement,
        window=window.own if window else None,
    )


def _in_whole(word: WordEffect, effect: float, window: Window | None) -> WordEffect:
    """A word with its effect, and where it stands in the whole text.

    Not by `dataclasses.replace`: a flag has dozens of parts, and it takes several times as long.
    """
    by = 0
    if window is not None:
        start, end = window.own
        own = end - start
        # those in pictures stand behind the window's own, and the line break between them
        by = start if word.start < own else window.in_pictures[0] - own - len(OCR_MARKER)
    return WordEffect(word.start + by, word.end + by, word.word, effect)


def _as_seen(post: PreparedPost, region: RegionEffect, effect: float) -> Iterator[RegionEffect]:
    """A region as people see its picture: of an animation, on the sheet of its frames."""
    image = post.images[region.image]
    assert isinstance(image, PreparedImage)
    edges = (region.x0, region.y0, region.x1, region.y1)
    for place in frames.on_sheet(edges, len(image.squares)):
        yield RegionEffect(region.image, *place, effect)
