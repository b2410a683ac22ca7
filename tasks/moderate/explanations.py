"""Why posts are flagged: the words and regions that moved the score, once for the same content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from models.serving.explain import as_written, explain
from models.serving.leave_out import Kept
from tasks.moderate.stages import Decided

log = structlog.get_logger(__name__)


def explain_flags(
    classifier: Classifier,
    flagged: Sequence[Decided],
    ready: Mapping[str, PreparedPost],
    kept: Kept | None,
    *,
    ask_again: bool,
) -> None:
    """Find out what moved the score that each post is flagged for, and keep it with its content.

    A failure costs no verdict: the posts go without an explanation.

    Args:
        ready: prepared posts by content hash; what is not among them gets no explanation.
        kept: of the prediction of these posts; None where explaining asks again.
        ask_again: whether the model judges again without each part, or from features.
    """
    todo = {
        (post.fetched.content_hash, post.flagged_for): post
        for post in flagged
        if post.fetched.content_hash in ready and post.flagged_for not in post.known.explanations
    }
    try:
        found = explain(
            classifier,
            [ready[content] for content, _ in todo],
            [score for _, score in todo],
            ask_again=ask_again,
            kept=kept,
            predictions=[post.known.prediction for post in todo.values()],
        )
        for ((_, score), post), one in zip(todo.items(), found, strict=True):
            post.known.explanations[score] = one and as_written(one, post.fetched.text)
    except Exception:
        log.exception("flags not explained", posts=len(todo), stage="explain")
