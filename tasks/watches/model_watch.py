"""Whether the model is to blame when judging fails, or the posts that were in hand.

A post may break the model, and the model may be broken for every post: a device that was lost, no
memory, weights gone wrong. What tells them apart is a post that is known to be good. Where that
one fails too, no post is to blame and none of their tries is used up.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from deadpan.core.errors import DeviceLost, ModelBroken
from models.engines.faults import is_of_device, is_out_of_memory
from models.posts.prediction import Prediction, PreparedPost
from models.serving.classifier import Classifier

log = structlog.get_logger(__name__)


class ModelWatch:
    """Judges with one model until that is known to be broken. Several slots may call it at once.

    Attributes:
        broken: why nothing more can be judged in this process, or None.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.broken: str | None = None
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raise ModelBroken where it is known to be broken."""
        if self.broken is not None:
            raise ModelBroken(self.broken, first=False)

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        """Judge posts; see `Classifier.predict`. What is raised is to be given to `suspect`."""
        self.require()
        return self.classifier.predict(posts)

    def suspect(self, error: Exception, *, probe: bool = True) -> None:
        """Return if the posts that were in hand may be to blame for an error.

        Args:
            probe: whether to find out by a good post; some errors are never about a post, and need
                none.

        Raises:
            ModelBroken: they are not.
        """
        with self._lock:
            self.require()
            first = not isinstance(error, DeviceLost) or error.first
            if is_of_device(error) or is_out_of_memory(error):
                self._break(error_text(error), error, first=first)
            if not probe:
                return
            try:
                self.classifier.probe()
            except Exception as other:
                log.exception("a post that is known to be good could not be judged")
                first = not isinstance(other, DeviceLost) or other.first
                self._break(
                    f"a post that is known to be good fails too: {error_text(other)}",
                    other,
                    first=first,
                )

    def all_failed(self, posts: int, error: Exception) -> None:
        """Raise ModelBroken: several posts failed alone, although the known good one did not."""
        with self._lock:
            self.require()
            self._break(
                f"each of {posts} posts fails, although one that is known to be good does not: "
                f"{error_text(error)}",
                error,
                first=True,
            )

    def _break(self, why: str, error: Exception, *, first: bool) -> None:
        self.broken = why
        raise ModelBroken(why, first=first) from error


def error_text(error: Exception) -> str:
    """A defect as people read of it: its type and its message, cut to 1,000 characters."""
    return f"{type(error).__name__}: {error}"[:1000]
