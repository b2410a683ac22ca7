"""What was said of posts of the same content: a post that is copied is judged once."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.posts.prediction import Prediction, Unread
from models.posts.recent import RecentlyUsed
from models.serving.explain import Explanation


@dataclass(frozen=True, slots=True)
class KnownPost:
    """What this process's model said of some content.

    Attributes:
        prediction: of all posts of this content.
        problems: of each image, why its bytes could not be decoded, or None.
        unread: what of the content was not read.
        explanations: by score; those that were asked for.
    """

    prediction: Prediction
    problems: tuple[str | None, ...]
    unread: tuple[Unread, ...] = ()
    explanations: dict[str, Explanation | None] = field(default_factory=dict)


class KnownPosts(RecentlyUsed[KnownPost]):
    """By content hash, about 1 kB each.

    It belongs to one warm model with one calibration, so neither is part of the key.
    """
