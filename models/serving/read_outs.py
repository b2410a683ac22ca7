"""From the heads' logits to predictions: of words and pictures together, and of each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deadpan.core.errors import NotFinite
from models.checkpoint.calibration import (
    READ_OUTS,
    Array,
    Bools,
    Calibration,
    patterns_of,
    softmax,
)
from models.network.head import Logits
from models.posts.prediction import OF_WORDS, QUESTIONS, YES, Prediction, Scores, Sentiment

ByReadOut = Mapping[str, Mapping[str, Array]]
"""By read-out and head, float64 [posts, classes]."""

Deciding = Mapping[str, Mapping[str, Sequence[int]]]
"""By read-out and head, which window of each post's text decides; empty where all have one."""

WORST = dict.fromkeys(QUESTIONS, YES) | {"sentiment": QUESTIONS["sentiment"].index("negative")}
"""By head, the class by which the worst window is found."""


def as_arrays(found: Sequence[Mapping[str, Logits]]) -> dict[str, dict[str, Array]]:
    """What the heads gave in one pass, several or none, as `ByReadOut`."""
    return {
        read_out: {
            head: np.concatenate(
                [one[read_out][head].astype(np.float64) for one in found]
                or [np.zeros((0, len(QUESTIONS[head])))]
            )
            for head in (found[0][read_out] if found else QUESTIONS)
        }
        for read_out in READ_OUTS
    }


def of_windows(
    logits: dict[str, dict[str, Array]], counts: Sequence[int]
) -> tuple[dict[str, dict[str, Array]], Deciding]:
    """Of each post the logits of the window that decides: the worst one.

    That is, for each read-out and question by itself, the one that is most likely negative, or
    sarcastic, and so on: what one window says cannot be hidden by others.
    Before calibration, so that one has it that fits the temperature to what is found.

    Args:
        logits: by read-out and head, float64 [windows, classes], post by post.
        counts: of each post, how many windows it has.

    Returns:
        By read-out and head, float64 [posts, classes], and which window of its post each row is of;
        nothing where every post has one.
    """
    if max(counts, default=1) == 1:
        return logits, {}
    ends = np.cumsum(counts)
    chosen: dict[str, dict[str, list[int]]] = {read_out: {} for read_out in READ_OUTS}
    found: dict[str, dict[str, Array]] = {read_out: {} for read_out in READ_OUTS}
    pairs = [(read_out, head) for read_out in READ_OUTS for head in logits[read_out]]
    for read_out, head in pairs:
        rows = logits[read_out][head]
        worst = softmax(rows)[:, WORST[head]]
        places = [
            int(worst[end - count : end].argmax()) for end, count in zip(ends, counts, strict=True)
        ]
        chosen[read_out][head] = places
        found[read_out][head] = rows[ends - counts + places]
    return found, chosen


def predictions_of(
    calibration: Calibration,
    logits: ByReadOut,
    has_text: Bools,
    has_image: Bools,
    windows: Deciding | None = None,
) -> list[Prediction]:
    """Calibrated predictions.

    Args:
        calibration: of the model.
        logits: one row for every post.
        has_text: bool [posts].
        has_image: bool [posts], whether any picture could be seen.
        windows: of `of_windows`.

    Raises:
        NotFinite: a read-out that its post has is NaN or infinity.
    """
    patterns = patterns_of(has_text, has_image)
    broken = np.zeros(len(has_text), dtype=bool)
    read_outs: list[list[Any]] = []
    for name, there in zip(READ_OUTS, (np.ones_like(broken), has_text, has_image), strict=True):
        answers = {
            head: calibration.probabilities(head, found, patterns[name])
            for head, found in logits[name].items()
        }
        finite = [np.isfinite(found).all(axis=1) for found in answers.values()]
        broken |= np.asarray(there) & ~np.all(finite, axis=0)
        sentiments = answers.pop("sentiment").tolist()
        yes = {head: found[:, YES].tolist() for head, found in answers.items()}
        places = windows[name] if windows else {}
        read_outs.append(
            [
                Scores(
                    Sentiment(*sentiment),
                    yes["sarcasm"][row],
                    # of words alone: nothing is known where there are none
                    **{q: yes[q][row] for q in OF_WORDS if q in yes and has_text[row]},
                    windows={head: found[row] for head, found in places.items()},
                )
                if there[row]
                else None
                for row, sentiment in enumerate(sentiments)
            ]
        )
    if broken.any():
        raise NotFinite(f"the model gave NaN or infinity for {broken.sum()} of {len(broken)} posts")
    return [Prediction(*row) for row in zip(*read_outs, strict=True)]
