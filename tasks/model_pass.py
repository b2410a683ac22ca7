"""Prepare and predict: a chunk's posts through the warm model.

Whatever breaks a pass is found by trying fewer, and fails alone: its neighbours are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.classifier import Classifier
from models.leave_out import Kept
from models.prediction import Prediction
from tasks.content import unprepared
from tasks.outcomes import Outcomes, shown
from tasks.verdict import Item

log = structlog.get_logger(__name__)


def prepare(
    classifier: Classifier,
    items: Sequence[Item],
    same: Mapping[str, Sequence[Item]],
    outcomes: Outcomes,
) -> list[Item]:
    """Prepare all together; should that fail, one by one, to find the post that breaks it.

    Args:
        items: one of each content, fetched.
        same: by content hash, all posts of it: they fail together.
        outcomes: gets those that fail.

    Returns:
        The items that were prepared.
    """
    try:
        prepare_together(classifier, items)
        return list(items)
    except Exception:
        log.exception("posts could not be prepared together", posts=len(items), stage="prepare")
    prepared = []
    for item in items:
        try:
            prepare_together(classifier, [item])
        except Exception as error:  # anything here is about this one post
            log.exception("post could not be prepared", **item.said, stage="prepare")
            for one in same[item.content_hash]:
                outcomes.failed(one, "prepare", shown(error))
        else:
            prepared.append(item)
    return prepared


def prepare_together(classifier: Classifier, items: Sequence[Item]) -> None:
    """Prepare posts that were fetched; what is raised may be about any of them."""
    prepared = classifier.prepare_all([unprepared(item) for item in items])
    for item, post in zip(items, prepared, strict=True):
        item.prepared = post


def prepare_flagged(classifier: Classifier, flagged: Sequence[Item]) -> None:
    """Prepare those that were not, because the prediction of their content was known.

    A failure is met again where the evidence is kept, by each post for itself.
    """
    todo = [item for item in flagged if item.prepared is None]
    try:
        prepare_together(classifier, todo)
    except Exception:
        log.exception("flagged posts not prepared", posts=len(todo), stage="prepare")


def predict(
    classifier: Classifier,
    items: Sequence[Item],
    same: Mapping[str, Sequence[Item]],
    outcomes: Outcomes,
    kept: Kept | None,
) -> list[tuple[Item, Prediction]]:
    """Judge all together; should that fail, half by half, to find the post that breaks it.

    Args:
        items: one of each content, prepared.
        same: by content hash, all posts of it: they fail together.
        outcomes: gets those that fail.
        kept: gets what explaining would compute again.

    Returns:
        Those that were judged, each with what the model says of it.
    """
    if not items:
        return []
    prepared = [item.prepared for item in items if item.prepared is not None]
    try:
        return list(zip(items, classifier.predict(prepared, kept), strict=True))
    except Exception as error:
        if len(items) == 1:
            log.exception("post could not be judged", **items[0].said, stage="predict")
            for item in same[items[0].content_hash]:
                outcomes.failed(item, "predict", shown(error))
            return []
    # Something in this chunk breaks the model: find it, and judge its neighbours.
    half = len(items) // 2
    front = predict(classifier, items[:half], same, outcomes, kept)
    return front + predict(classifier, items[half:], same, outcomes, kept)
