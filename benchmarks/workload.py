"""The posts of a run, as many as wanted, each under any number of ids.

An id is `INDEX-COPY-TAG`: the INDEX-th post of the file, in its COPY-th version, under a name of
its own. Copies other than 0 say one word more and have pictures with other bytes behind the end of
the file, so that no cache knows them and decoding them costs the same. Tags change nothing but the
id: that is how the same post is pushed again under a new one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deadpan.demo
from deadpan.demo.posts import SamplePost, read_posts

OWN_POSTS = Path(deadpan.demo.__file__).parent / "posts.jsonl"
CONTENT_TYPES = {".gif": "image/gif", ".png": "image/png", ".webp": "image/webp"}

WARM_COPY = 1000
"""Copies from here on are for warming up only."""
LATENCY_COPY = 500
"""Copies from here on are for measuring latency: no cache has seen them before."""


class Workload:
    """A file of posts, read once.

    Args:
        path: JSONL as `deadpan.demo.posts` reads it; None takes the demo's own posts.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        read = read_posts(path or OWN_POSTS)
        self._posts: list[SamplePost] = list(read.posts.values())
        files = dict.fromkeys(image for post in self._posts for image in post.images)
        self._number = {file: number for number, file in enumerate(files)}
        self._files: list[tuple[bytes, str] | None] = [
            (file.read_bytes(), CONTENT_TYPES.get(file.suffix.lower(), "image/jpeg"))
            if file.is_file()
            else None
            for file in files
        ]

    def __len__(self) -> int:
        return len(self._posts)

    @property
    def about(self) -> str:
        """What these posts are, for the report."""
        name = f"`{self.path.name}`" if self.path else "the demo's own posts"
        pictures = sum(len(post.images) for post in self._posts)
        return f"{name}, {len(self)} posts with {pictures} pictures"

    def ids(self, count: int, tag: str, *, first_copy: int = 0) -> list[str]:
        """Ids of `count` posts: the file's in order, then again as further copies."""
        return [
            f"{number % len(self)}-{first_copy + number // len(self)}-{tag}"
            for number in range(count)
        ]

    def sample(self, count: int, of: int, tag: str) -> list[str]:
        """Ids of `count` of the first `of` posts, evenly spread, for a row too slow for all."""
        every = self.ids(of, tag)
        count = min(count, of)
        return [every[number * of // count] for number in range(count)]

    def text(self, post_id: str) -> str:
        """What the post of an id says."""
        post, copy = self._found(post_id)
        return f"{post.text} {copy}" if copy else post.text

    def images(self, post_id: str) -> list[bytes]:
        """The picture files of the post of an id; without those that are missing."""
        post, copy = self._found(post_id)
        found = (self.image(self._number[file], copy) for file in post.images)
        return [image[0] for image in found if image]

    def image(self, number: int, copy: int) -> tuple[bytes, str] | None:
        """A picture file and its content type, or None when there is no such picture."""
        if not 0 <= number < len(self._files) or (file := self._files[number]) is None:
            return None
        content, content_type = file
        # decoders stop at the end of the picture; caches by hash see another one
        return (content + b"copy %d" % copy if copy else content), content_type

    def served(self, post_id: str, base_url: str) -> dict[str, Any] | None:
        """The post of an id as an HTTP source answers it, or None when there is none."""
        try:
            post, copy = self._found(post_id)
        except (ValueError, IndexError):
            return None
        return {
            "id": post_id,
            "text": self.text(post_id),
            "images": [f"{base_url}/images/{self._number[file]}/{copy}" for file in post.images],
            "author": post.author,
            "created_at": post.created_at,
        }

    def _found(self, post_id: str) -> tuple[SamplePost, int]:
        index, copy, _ = post_id.split("-", 2)
        return self._posts[int(index)], int(copy)
