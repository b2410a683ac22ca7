"""Posts without some of their words or regions, from features that are computed once.

Where a text is the mean of its tokens' states and a picture that of its regions, a part can be left
out of the mean. What the encoders made of the other parts still knows of the part that is left out,
so it is rougher than taking it out of the post, and cheaper: docs/calibration.md has figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.engines.base import Engine, encode_pictures
from models.network.config import ModelConfig
from models.network.fusion import Features
from models.posts.prediction import PreparedImage, PreparedPost
from models.serving.explain import Part, RegionEffect, WordEffect, text_without

Parts = Sequence[Part]


@dataclass(slots=True)
class Kept:
    """What the encoders said while a chunk was judged: float32 [tokens, dim] by token ids, and
    [cells, dim] by the picture's SHA-256 (see `engines.base.cell_weights`)."""

    states: dict[tuple[int, ...], Tensor] = field(default_factory=dict)
    regions: dict[str, Tensor] = field(default_factory=dict)


def has_parts(engine: Engine, config: ModelConfig) -> bool:
    """Whether features are means of parts, so that one can be left out."""
    means = config.text.pooling == "mean" and not config.image.pools_itself
    return means and not engine.needs_regions


def without_parts(
    engine: Engine,
    config: ModelConfig,
    spans: Callable[[str], list[tuple[int, int]]],
    posts: Sequence[PreparedPost],
    parts: Sequence[Parts],
    kept: Kept,
) -> Features | None:
    """Features of every post as it is, and without each of its parts.

    Args:
        engine: computes states of tokens and regions.
        config: of the model.
        spans: where each token of a text stands.
        posts: any number.
        parts: of each post.
        kept: what need not be computed again; what is computed is added to it.

    Returns:
        A row for every post and each of its parts, post by post; None where the model's features
        are not means of parts.
    """
    if not has_parts(engine, config):
        return None
    texts_todo = list({post.token_ids for post in posts} - kept.states.keys() - {()})
    if texts_todo:
        _, found = engine.encode_texts(texts_todo, parts=True)
        kept.states |= zip(texts_todo, found, strict=True)
    seen = [
        [(at, image) for at, image in enumerate(post.images) if isinstance(image, PreparedImage)]
        for post in posts
    ]
    distinct = {image.sha256: image for images in seen for _, image in images}
    pictures_todo = [sha256 for sha256 in distinct if sha256 not in kept.regions]
    if pictures_todo:
        pictures = [distinct[sha256] for sha256 in pictures_todo]
        encoded = encode_pictures(engine, pictures, parts=True)
        kept.regions |= zip(pictures_todo, encoded, strict=True)
    counts = [len(kept.regions[sha256]) for sha256 in distinct]
    if any(isqrt(count) ** 2 != count for count in counts):
        return None
    most = max([1, *map(len, seen)])
    texts, images, masks, has_text = [], [], [], []
    for row, (post, cuts) in enumerate(zip(posts, parts, strict=True)):
        count = 1 + len(cuts)
        text = torch.zeros(count, config.text.dim)
        if post.token_ids:
            text = _texts(kept.states[post.token_ids], spans(post.text), cuts)
        image = torch.zeros(count, most, config.image.dim)
        for column, (place, one) in enumerate(seen[row]):
            image[:, column] = _images(kept.regions[one.sha256], place, cuts)
        texts.append(text)
        images.append(image)
        masks.append((torch.arange(most) < len(seen[row])).expand(count, most))
        has_text.append(torch.full((count,), bool(post.token_ids)))
    return Features(torch.cat(texts), torch.cat(has_text), torch.cat(images), torch.cat(masks))


def without_words(post: PreparedPost, part: Part | None) -> PreparedPost:
    """A post without some of its words, or as it is where the part is no words. Its token ids stay
    those of all words."""
    if not isinstance(part, WordEffect):
        return post
    return replace(post, text=text_without(post.text, part))


def _texts(states: Tensor, spans: Sequence[tuple[int, int]], cuts: Parts) -> Tensor:
    """Float32 [tokens, dim] to [1 + cuts, dim]."""
    starts, ends = np.array(spans[: len(states)]).T
    rows, edges = _rows(
        [(cut.start, cut.end) if isinstance(cut, WordEffect) else None for cut in cuts]
    )
    kept = np.ones((1 + len(cuts), len(states)), np.float32)
    if rows:
        start, end = edges
        kept[rows] = (starts >= end) | (ends <= start)
    return _means(kept, states)


def _images(regions: Tensor, place: int, cuts: Parts) -> Tensor:
    """Float32 [regions, dim] of the picture at a place of its post to [1 + cuts, dim]."""
    side = isqrt(len(regions))
    centres = (np.array(np.divmod(np.arange(len(regions)), side)) + 0.5) / side
    y, x = centres
    rows, edges = _rows(
        [
            (cut.x0, cut.x1, cut.y0, cut.y1)
            if isinstance(cut, RegionEffect) and cut.image == place
            else None
            for cut in cuts
        ]
    )
    kept = np.ones((1 + len(cuts), len(regions)), np.float32)
    if rows:
        x0, x1, y0, y1 = edges
        kept[rows] = (x < x0) | (x >= x1) | (y < y0) | (y >= y1)
    return _means(kept, regions)


def _rows(
    edges: Sequence[tuple[float, ...] | None],
) -> tuple[list[int], list[npt.NDArray[np.float64]]]:
    """The rows of cuts that have edges, and each edge as a column [rows, 1]."""
    rows = [row for row, found in enumerate(edges, 1) if found is not None]
    table = np.array([found for found in edges if found is not None], dtype=np.float64)
    return rows, [column[:, None] for column in table.T]


def _means(kept: npt.NDArray[np.float32], vectors: Tensor) -> Tensor:
    """Of the vectors that each row keeps: [rows, parts] and [parts, dim] to [rows, dim]."""
    weights = torch.from_numpy(kept / np.maximum(kept.sum(axis=1, keepdims=True), 1.0))
    return weights @ vectors
