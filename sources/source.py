"""What a post source is, and what those that download images share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from sources.pictures.allowed import ImageLimits
from sources.pictures.awaited import AwaitedPost, completed
from sources.pictures.download import ImageDownloader
from sources.post import FetchedImage, FetchedPost, FetchFailure, FetchResult, Found, Gone, Post

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


class PicturedSource(PostSource):
    """A post source that finds posts first, and then downloads their images.

    Args:
        limits: for images.
        threads: images at once, over all fetches.
        read_image: reads an image that is no download, and gives None for one that is.
    """

    def __init__(
        self,
        limits: ImageLimits | None,
        threads: int,
        read_image: Callable[[str], FetchedImage | None] | None = None,
    ) -> None:
        self._images = ImageDownloader(limits or ImageLimits(), threads=threads)
        self._read_image = read_image

    @abstractmethod
    def find(self, post_ids: Sequence[str]) -> dict[str, Found]:
        """Fetch posts without their images: one result for each of these distinct ids."""

    def begin(self, post_ids: Sequence[str]) -> dict[str, BegunResult]:
        """Fetch posts, and begin to download their images."""
        asked = list(dict.fromkeys(post_ids))
        found = self.find(asked)
        posts = [result for result in found.values() if isinstance(result, Post)]
        begun = {each.post.id: each for each in self._images.begin(posts, self._read_image)}
        results: dict[str, BegunResult] = {}
        for post_id in asked:
            result = found[post_id]
            results[post_id] = begun[post_id] if isinstance(result, Post) else result
        return results

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """Fetch posts and their images."""
        begun = self.begin(post_ids)
        done = iter(completed([post for post in begun.values() if isinstance(post, AwaitedPost)]))
        return {
            post_id: next(done) if isinstance(result, AwaitedPost) else result
            for post_id, result in begun.items()
        }

    def closed_image_hosts(self) -> int:
        """How many image hosts are not asked now."""
        return self._images.closed_hosts()

    def close(self) -> None:
        """Give back connections and threads."""
        self._images.close()


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
