"""From the heads' logits to predictions: of words and pictures together, and of each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from models.checkpoint.calibration import (
    HEADS,
    READ_OUTS,
    Array,
    Bools,
    Calibration,
    patterns_of,
    softmax,
)
from models.network.fusion import Logits
from models.posts.prediction import (
    SARCASM_LABELS,
    SENTIMENTS,
    Prediction,
    PreparedPost,
    Scores,
    Sentiment,
)

ByReadOut = Mapping[str, Mapping[str, Array]]
"""By read-out and head, float64 [posts, classes]."""

Deciding = Mapping[str, Mapping[str, Sequence[int]]]
"""By read-out and head, which window of each post's text decides; empty where all have one."""

WORST = {"sentiment": SENTIMENTS.index("negative"), "sarcasm": SARCASM_LABELS.index("sarcastic")}
"""By head, the class by which the worst window is found."""


def as_arrays(found: Mapping[str, Logits]) -> dict[str, dict[str, Array]]:
    """What the heads gave, by read-out and head, as float64 [posts, classes]."""
    return {
        read_out: {head: getattr(found[read_out], head).double().numpy() for head in HEADS}
        for read_out in READ_OUTS
    }


def joined(parts: Sequence[ByReadOut]) -> dict[str, dict[str, Array]]:
    """What the heads gave in several passes, as one."""
    return {
        read_out: {head: np.concatenate([part[read_out][head] for part in parts]) for head in HEADS}
        for read_out in READ_OUTS
    }


def of_windows(
    logits: dict[str, dict[str, Array]], counts: Sequence[int]
) -> tuple[dict[str, dict[str, Array]], Deciding]:
    """Of each post the logits of the window that decides: the worst one.

    That is, for each read-out by itself, the one that is most likely negative, and, for sarcasm,
    the one that is most likely sarcastic: what one window says cannot be hidden by others.
    Before calibration, so that one has it that fits the temperature to what is found.

    Args:
        logits: by read-out and head, float64 [windows, classes], post by post.
        counts: of each post, how many windows it has.

    Returns:
        By read-out and head, float64 [posts, classes], and which window of its post each row is of;
        nothing where every post has one.
    """
    if max(counts) == 1:
        return logits, {}
    ends = np.cumsum(counts)
    chosen: dict[str, dict[str, list[int]]] = {read_out: {} for read_out in READ_OUTS}
    found: dict[str, dict[str, Array]] = {read_out: {} for read_out in READ_OUTS}
    for read_out, head in product(READ_OUTS, HEADS):
        rows = logits[read_out][head]
        worst = softmax(rows)[:, WORST[head]]
        places = [
            int(worst[end - count : end].argmax()) for end, count in zip(ends, counts, strict=True)
        ]
        chosen[read_out][head] = places
        found[read_out][head] = rows[ends - counts + places]
    return found, chosen


def in_windows(
    predictions: Sequence[Prediction], posts: Sequence[PreparedPost], windows: Deciding
) -> list[Prediction]:
    """The same predictions, with which window each score is of, as `of_windows` says."""
    found = list(predictions)
    for row, post in enumerate(posts if windows else ()):
        if post.windows:
            one = found[row]
            scores = zip(READ_OUTS, (one.fused, one.text_alone, one.image_alone), strict=True)
            found[row] = Prediction(
                *(_in_window(said, windows[name], row) for name, said in scores)
            )
    return found


def _in_window(scores: Scores | None, places: Mapping[str, Sequence[int]], row: int) -> Any:
    if scores is None:
        return None
    return replace(
        scores,
        sentiment_window=places["sentiment"][row],
        sarcasm_window=places["sarcasm"][row],
    )


def probabilities_of(
    calibration: Calibration, logits: ByReadOut, has_text: Bools, has_image: Bools
) -> list[tuple[Array, Array]]:
    """Calibrated probabilities.

    Args:
        calibration: of the model.
        logits: as `as_arrays` gives them.
        has_text: bool [posts].
        has_image: bool [posts], whether any picture could be seen.

    Returns:
        Of each read-out in order, sentiment [posts, 3] and sarcasm [posts].
    """
    patterns = patterns_of(has_text, has_image)

    def of(head: str, read_out: str) -> Array:
        return calibration.probabilities(head, logits[read_out][head], patterns[read_out])

    return [(of("sentiment", name), of("sarcasm", name)[:, 1]) for name in READ_OUTS]


def prediction_of(
    read_outs: Sequence[tuple[Any, Any]], has_text: bool, has_image: bool
) -> Prediction:
    """One post's prediction.

    Args:
        read_outs: in their order, each the three probabilities of the sentiments and the one of
            sarcasm: numbers, or arrays of as many variants of the post.
        has_text: whether it has words.
        has_image: whether any picture of it could be seen.
    """
    fused, text, image = (
        Scores(Sentiment(*sentiment), sarcasm) for sentiment, sarcasm in read_outs
    )
    return Prediction(fused, text if has_text else None, image if has_image else None)
