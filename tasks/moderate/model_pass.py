"""Prepare and predict: a chunk's posts through the warm model.

Whatever breaks a pass is found by trying fewer, and fails alone: its neighbours are judged. Before
any post is blamed, the model is (`tasks.watches.model_watch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.posts.prediction import Prediction
from models.serving.classifier import Classifier
from models.serving.leave_out import Kept
from tasks.moderate.content import unprepared
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.verdict import Item
from tasks.watches.model_watch import ModelWatch, error_text

log = structlog.get_logger(__name__)

Failed = tuple[Item, Exception]
"""A post that failed alone, and of what."""


def prepare(
    watch: ModelWatch,
    items: Sequence[Item],
    same: Mapping[str, Sequence[Item]],
    outcomes: Outcomes,
    *,
    tried_before: bool,
) -> list[Item]:
    """Prepare all together; should that fail, one by one, to find the post that breaks it.

    Args:
        items: one of each content, fetched.
        same: by content hash, all posts of it: they fail together.
        outcomes: gets those that fail.
        tried_before: see `predict`.

    Returns:
        The items that were prepared.

    Raises:
        ModelBroken: no post is to blame.
    """
    try:
        prepare_together(watch.classifier, items)
        return list(items)
    except Exception as error:
        log.exception("posts could not be prepared together", posts=len(items), stage="prepare")
        watch.suspect(error)
    prepared: list[Item] = []
    failed: list[Failed] = []
    for item in items:
        try:
            prepare_together(watch.classifier, [item])
            prepared.append(item)
        except Exception as error:
            failed.append((item, error))
    _blame(watch, "prepare", failed, items, same, outcomes, tried_before=tried_before)
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
    watch: ModelWatch,
    items: Sequence[Item],
    same: Mapping[str, Sequence[Item]],
    outcomes: Outcomes,
    kept: Kept | None,
    *,
    tried_before: bool,
) -> list[tuple[Item, Prediction]]:
    """Judge all together; should that fail, half by half, to find the post that breaks it.

    Args:
        items: one of each content, prepared.
        same: by content hash, all posts of it: they fail together.
        outcomes: gets those that fail.
        kept: gets what explaining would compute again.
        tried_before: whether another process failed at these posts; if all of them fail here too,
            although the model does well by a good post, they are to blame.

    Returns:
        Those that were judged, each with what the model says of it.

    Raises:
        ModelBroken: no post is to blame.
    """
    failed: list[Failed] = []
    judged = _judged(watch, items, kept, failed, probe=True)
    _blame(watch, "predict", failed, items, same, outcomes, tried_before=tried_before)
    return judged


def _judged(
    watch: ModelWatch,
    items: Sequence[Item],
    kept: Kept | None,
    failed: list[Failed],
    *,
    probe: bool,
) -> list[tuple[Item, Prediction]]:
    """Those of these posts that can be judged; the others are put to the failed ones."""
    if not items:
        return []
    prepared = [item.prepared for item in items if item.prepared is not None]
    try:
        return list(zip(items, watch.predict(prepared, kept), strict=True))
    except Exception as error:
        watch.suspect(error, probe=probe)
        if len(items) == 1:
            failed.append((items[0], error))
            return []
    # Something in this chunk breaks the model: find it, and judge its neighbours.
    half = len(items) // 2
    front = _judged(watch, items[:half], kept, failed, probe=False)
    return front + _judged(watch, items[half:], kept, failed, probe=False)


def _blame(
    watch: ModelWatch,
    stage: str,
    failed: Sequence[Failed],
    items: Sequence[Item],
    same: Mapping[str, Sequence[Item]],
    outcomes: Outcomes,
    *,
    tried_before: bool,
) -> None:
    """Note posts that failed alone.

    Raises:
        ModelBroken: the model broke meanwhile, or all of several failed.
    """
    if not failed:
        return
    _, error = failed[-1]
    if len(items) > 1:
        # It did well before the posts were tried one by one; does it still?
        watch.suspect(error)
    if len(failed) == len(items) > 1 and not tried_before:
        watch.all_failed(len(items), error)
    for item, error in failed:
        log.error("post fails", **item.said, stage=stage, error=error_text(error), exc_info=error)
        for one in same[item.content_hash]:
            outcomes.failed(one, stage, error_text(error))
