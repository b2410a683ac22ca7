"""What a post source is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from sources.pictures.awaited import AwaitedPost, completed
from sources.post import FetchedPost, FetchFailure, FetchResult, Gone, Post

Found = Post | Gone | FetchFailure
BegunResult = AwaitedPost | FetchedPost | Gone | FetchFailure

Look = Callable[[str, Any], None]
"""Is shown what a source gave for a post id, before it is read."""


class PostSource(Protocol):
    """Turns post ids into posts. Safe to call from several threads at once.

    A class below it that downloads no images needs `fetch` and `close` only.
    """

    def begin(self, post_ids: Sequence[str]) -> Mapping[str, BegunResult]:
        """Fetch posts, and begin to download their images.

        Args:
            post_ids: distinct ids, at most a chunk of them.

        Returns:
            Exactly one result for every id asked for, whatever the source did; an AwaitedPost for
            a post whose images are on their way. Never raises for what the platform answers.
        """
        return self.fetch(post_ids)

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """The same, and wait until each post's images are there or its time is up."""
        ...

    def closed_image_hosts(self) -> int:
        """How many image hosts are not asked now, because they did not answer."""
        return 0

    def close(self) -> None:
        """Give back connections and threads."""
        ...


class Unwaited(PostSource):
    """A post source whose `fetch` does not wait for images."""

    def __init__(self, source: PostSource) -> None:
        self._source = source

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """What `begin` of the source gives: posts among it may be AwaitedPost."""
        return cast("dict[str, FetchResult]", self._source.begin(post_ids))

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def waited_for(begun: Mapping[str, BegunResult]) -> dict[str, FetchResult]:
    """What `begin` of a post source gave, once every post is complete or its time is up."""
    done = iter(completed([post for post in begun.values() if isinstance(post, AwaitedPost)]))
    return {
        post_id: next(done) if isinstance(result, AwaitedPost) else result
        for post_id, result in begun.items()
    }
