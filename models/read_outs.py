"""From the heads' logits to predictions: of words and pictures together, and of each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.calibration import HEADS, READ_OUTS, Array, Bools, Calibration, patterns_of
from models.fusion import Logits
from models.prediction import Prediction, Scores, Sentiment

ByReadOut = Mapping[str, Mapping[str, Array]]
"""By read-out and head, float64 [posts, classes]."""


def as_arrays(found: Mapping[str, Logits]) -> dict[str, dict[str, Array]]:
    """What the heads gave, by read-out and head, as float64 [posts, classes]."""
    return {
        read_out: {head: getattr(found[read_out], head).double().numpy() for head in HEADS}
        for read_out in READ_OUTS
    }


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
