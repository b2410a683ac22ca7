"""Why posts are flagged: the words and regions that moved the score, once for the same content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.serving.classifier import Classifier
from models.serving.explain import as_written, explain
from models.serving.known_posts import KnownPost
from models.serving.leave_out import Kept
from tasks.moderate.verdict import Item

log = structlog.get_logger(__name__)


def explain_flags(
    classifier: Classifier,
    items: Sequence[Item],
    known: Mapping[str, KnownPost],
    kept: Kept | None,
    *,
    ask_again: bool,
) -> None:
    """Say what moved the score that each post is flagged for; a failure costs no verdict.

    Args:
        items: posts that are flagged; those that were not prepared get no explanation.
        known: by content hash, what was said of it; gets what is found.
        kept: of the prediction of these posts; None where explaining asks again.
        ask_again: whether the model judges again without each part, or from features.
    """
    named = {
        item.post_id: str(item.reasons[0].conditions[0]["score"])
        for item in items
        if item.prepared is not None
    }
    todo = {
        (item.content_hash, named[item.post_id]): item.prepared
        for item in items
        if item.prepared is not None
        and named[item.post_id] not in known[item.content_hash].explanations
    }
    try:
        told = explain(
            classifier,
            list(todo.values()),
            [name for _, name in todo],
            ask_again=ask_again,
            kept=kept,
            predictions=[known[content].prediction for content, _ in todo],
        )
    except Exception:
        log.exception("flags not explained", posts=len(todo), stage="explain")
        told = []
    texts = {item.content_hash: item.fetched.post.text for item in items if item.fetched}
    for (content, name), found in zip(todo, told, strict=False):
        known[content].explanations[name] = found and as_written(found, texts[content])
    for item in items:
        name = named.get(item.post_id, "")
        item.explanation = known[item.content_hash].explanations.get(name)
