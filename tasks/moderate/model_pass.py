"""Prepare and predict: a chunk's posts through the warm model.

Whatever breaks a pass is found by trying fewer, and fails alone: its neighbours are judged. Before
any post is blamed, the model is (`tasks.watches.model_watch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.stages import Fetched, Predicted, Prepared
from tasks.watches.model_watch import ModelWatch, error_text

log = structlog.get_logger(__name__)


class ModelPass:
    """Takes posts of one chunk through the model, one of each content.

    Args:
        copies: by content hash, all posts of it: they fail together.
        outcomes: gets those that fail.
        tried_before: whether another process failed at these posts; if all of them fail here too,
            although the model does well by a good post, they are to blame.
    """

    def __init__(
        self,
        watch: ModelWatch,
        copies: Mapping[str, Sequence[Fetched]],
        outcomes: Outcomes,
        *,
        tried_before: bool,
    ) -> None:
        self._watch = watch
        self._copies = copies
        self._outcomes = outcomes
        self._tried_before = tried_before

    def prepare(self, posts: Sequence[Fetched]) -> list[Prepared]:
        """Prepare all together; should that fail, one by one, to find the post that breaks it.

        Raises:
            ModelBroken: no post is to blame.
        """
        try:
            ready = prepare_together(self._watch.classifier, posts)
            return [Prepared(post, one) for post, one in zip(posts, ready, strict=True)]
        except Exception as error:
            log.exception("posts could not be prepared together", posts=len(posts), stage="prepare")
            self._watch.suspect(error)
        prepared: list[Prepared] = []
        failed: list[tuple[Fetched, Exception]] = []
        for post in posts:
            try:
                (one,) = prepare_together(self._watch.classifier, [post])
                prepared.append(Prepared(post, one))
            except Exception as error:
                failed.append((post, error))
        self._blame("prepare", failed, of=len(posts))
        return prepared

    def predict(self, posts: Sequence[Prepared]) -> list[Predicted]:
        """Judge all together; should that fail, half by half, to find the post that breaks it.

        Raises:
            ModelBroken: no post is to blame.
        """
        failed: list[tuple[Fetched, Exception]] = []
        predicted = self._predict(posts, failed, probe=True)
        self._blame("predict", failed, of=len(posts))
        return predicted

    def _predict(
        self,
        posts: Sequence[Prepared],
        failed: list[tuple[Fetched, Exception]],
        *,
        probe: bool,
    ) -> list[Predicted]:
        if not posts:
            return []
        try:
            predictions = self._watch.predict([post.ready for post in posts])
            return [Predicted(post, one) for post, one in zip(posts, predictions, strict=True)]
        except Exception as error:
            self._watch.suspect(error, probe=probe)
            if len(posts) == 1:
                failed.append((posts[0].fetched, error))
                return []
        # Something in this chunk breaks the model: find it, and judge its neighbours.
        half = len(posts) // 2
        front = self._predict(posts[:half], failed, probe=False)
        return front + self._predict(posts[half:], failed, probe=False)

    def _blame(self, stage: str, failed: Sequence[tuple[Fetched, Exception]], *, of: int) -> None:
        """Note posts that failed alone, of so many.

        Raises:
            ModelBroken: the model broke meanwhile, or all of several failed.
        """
        if not failed:
            return
        _, error = failed[-1]
        if of > 1:
            # It did well before the posts were tried one by one; does it still?
            self._watch.suspect(error)
        if len(failed) == of > 1 and not self._tried_before:
            self._watch.all_failed(of, error)
        for post, error in failed:
            text = error_text(error)
            log.error(
                "post fails", **post.asked.log_fields, stage=stage, error=text, exc_info=error
            )
            for copy in self._copies[post.content_hash]:
                self._outcomes.failed(copy.asked, stage, text)


def prepare_together(classifier: Classifier, posts: Sequence[Fetched]) -> list[PreparedPost]:
    """Prepare posts; what is raised may be about any of them."""
    return classifier.prepare_all(
        [(post.text, post.files) for post in posts], [post.stated_language for post in posts]
    )
