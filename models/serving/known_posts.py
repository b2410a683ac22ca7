"""What was said of posts of the same content: a post that is copied is judged once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from models.posts.prediction import Prediction, Unread
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


class KnownPosts:
    """The most recently used, by content hash. Safe to use from several threads.

    It belongs to one warm model with one calibration, so neither is part of the key.

    Args:
        size: how many; one takes about 1 kB. 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._posts: OrderedDict[str, KnownPost] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, content_hashes: Iterable[str]) -> dict[str, KnownPost]:
        """Those that are known."""
        found = {}
        with self._lock:
            for key in content_hashes:
                post = self._posts.get(key)
                if post is not None:
                    self._posts.move_to_end(key)
                    found[key] = post
        return found

    def add(self, content_hash: str, post: KnownPost) -> None:
        """Remember one, and forget what was not asked for the longest."""
        with self._lock:
            self._posts[content_hash] = post
            self._posts.move_to_end(content_hash)
            while len(self._posts) > self._size:
                self._posts.popitem(last=False)
