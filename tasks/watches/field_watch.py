"""Fields of posts that nobody reads: a place that was named and holds nothing, a time that is none.

A wrong name in `DEADPAN_SOURCE_FIELDS` loses no post, only its pictures or its author, and would go
unseen.
"""

from __future__ import annotations

import threading

import structlog

from sources.post import Post
from tasks.watches import metrics

log = structlog.get_logger(__name__)

FIRST_POSTS = 100
"""If a field is in none of so many posts, its place is most likely misspelt."""


class FieldWatch:
    """Counts fields that were not read, and tells of each once. Several slots may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0
        self._absent: dict[str, int] = {}
        self._told: set[str] = set()

    def saw(self, post: Post) -> None:
        """Note a post as its source gave it."""
        for field in post.absent:
            metrics.UNREAD_FIELDS.labels(field, "absent").inc()
        for sentence in post.unreadable:
            field = sentence.partition(" ")[0]
            metrics.UNREAD_FIELDS.labels(field, "unreadable").inc()
            with self._lock:
                is_first = field not in self._told
                self._told.add(field)
            if is_first:
                log.warning("a field cannot be read; logged once", post_id=post.id, why=sentence)
        if self._seen < FIRST_POSTS:
            self._count(post)

    def _count(self, post: Post) -> None:
        with self._lock:
            self._seen += 1
            for field in post.absent:
                self._absent[field] = self._absent.get(field, 0) + 1
            if self._seen != FIRST_POSTS:
                return
            nowhere = sorted(field for field, n in self._absent.items() if n == FIRST_POSTS)
        for field in nowhere:
            log.warning(
                "no post has this field of DEADPAN_SOURCE_FIELDS; see deadpan check --post ID",
                field=field,
                posts=FIRST_POSTS,
            )
