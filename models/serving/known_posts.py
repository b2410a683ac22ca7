"""What was said of posts of the same content: a post that is copied is judged once."""

from __future__ import annotations

from dataclasses import dataclass

from models.posts.prediction import ImageProblem, Prediction, PreparedPost, Unread
from models.posts.recent import RecentlyUsed


@dataclass(frozen=True, slots=True)
class KnownPost:
    """What this process's model said of some content.

    Attributes:
        prediction: of all posts of this content.
        problems: of each image, why it could not be seen, or None.
        unread: what of the content was not read.
        language: of its words; None where nobody can tell.
    """

    prediction: Prediction
    problems: tuple[str | None, ...]
    unread: tuple[Unread, ...] = ()
    language: str | None = None

    @classmethod
    def of(cls, ready: PreparedPost, prediction: Prediction) -> KnownPost:
        """What the model said of a prepared post."""
        problems = tuple(
            image.problem if isinstance(image, ImageProblem) else None for image in ready.images
        )
        return cls(prediction, problems, ready.unread, ready.language)


class KnownPosts(RecentlyUsed[KnownPost]):
    """By content hash, about 1 kB each.

    It belongs to one warm model with one calibration, so neither is part of the key.
    """
