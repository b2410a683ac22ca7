"""Posts whose words are there and whose pictures are on their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sources.net.addresses import Address
from sources.pictures.lanes import Work
from sources.post import FetchedImage, FetchedPost, Post

POST_SECONDS = 8.0
"""For all pictures of a post together, however many: then it is judged by what came."""

PATIENT_SECONDS = 30.0
"""So long may a picture wait for a thread whose host answers well: then it is we who are slow."""

NOT_IN_TIME = "the image host did not answer in time"


class Batch:
    """The pictures of the posts of one fetch.

    Args:
        max_bytes: of all of them together.

    Attributes:
        began_at: when they were asked for, by the monotonic clock.
    """

    def __init__(self, max_bytes: int) -> None:
        self.began_at = time.monotonic()
        self._left_bytes = max_bytes
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[], None], ...] = ()

    def has_room(self, size: int) -> bool:
        """Whether there is room for so many bytes more; then they are taken."""
        with self._lock:
            if size > self._left_bytes:
                return False
            self._left_bytes -= size
            return True

    def tell(self, listener: Callable[[], None]) -> None:
        """Call a function, from any thread, whenever a picture is over, come or not."""
        self._listeners = (*self._listeners, listener)

    def note(self, picture: Picture, image: FetchedImage) -> None:
        """A picture is over; what comes later of it is dropped."""
        if picture.image is None:
            picture.image = image
        for listener in self._listeners:
            listener()


@dataclass(eq=False, slots=True)
class Picture(Work):
    """A picture that somebody waits for.

    Attributes:
        location: as the post names it.
        url: that is asked next, after redirects.
        ends_at: when it is given up, by the monotonic clock.
        left_seconds: of its present try.
        addresses: of the next host, checked; None until they are looked up.
        wanted_by: how many posts wait for it.
        image: what came of it, once it is over.
    """

    location: str = ""
    batch: Batch = field(default_factory=lambda: Batch(0))
    url: str = ""
    ends_at: float = 0.0
    left_seconds: float = 0.0
    tries: int = 0
    redirects: int = 0
    addresses: list[Address] | None = None
    wanted_by: int = 0
    image: FetchedImage | None = None


class AwaitedPost:
    """A post whose pictures are being downloaded. To be used from one thread at a time.

    Args:
        pictures: of its first images, in order.
        left_out: its other images, which are not looked at.
        is_good: whether a picture's host has answered well.
    """

    def __init__(
        self,
        post: Post,
        pictures: Sequence[Picture],
        left_out: Sequence[FetchedImage],
        batch: Batch,
        is_good: Callable[[Picture], bool],
    ) -> None:
        self.post = post
        self.batch = batch
        self._pictures = pictures
        self._left_out = left_out
        self._is_good = is_good
        self._given_up = False
        for picture in pictures:
            picture.wanted_by += 1

    def is_complete(self) -> bool:
        """Whether nothing is on its way any more."""
        return all(picture.image is not None for picture in self._pictures)

    def is_over(self) -> bool:
        """Whether there is nothing to wait for: all is there, or its time is up."""
        now = time.monotonic()
        return all(
            picture.image is not None or now >= self._ends_at(picture) for picture in self._pictures
        )

    def over_at(self) -> float:
        """Until when there is something to wait for, by the monotonic clock."""
        return max(
            (self._ends_at(picture) for picture in self._pictures if picture.image is None),
            default=self.batch.began_at,
        )

    def _ends_at(self, picture: Picture) -> float:
        if not picture.has_begun and self._is_good(picture):
            return self.batch.began_at + PATIENT_SECONDS
        return picture.ends_at

    def is_promising(self) -> bool:
        """Whether all that is on its way comes from hosts that answer well."""
        return all(
            picture.image is not None or self._is_good(picture) for picture in self._pictures
        )

    def size(self) -> int:
        """Bytes of what has come."""
        images = (picture.image for picture in self._pictures)
        return sum(len(image.content or b"") for image in images if image is not None)

    def fetched(self) -> FetchedPost:
        """The post with what has come; what is still on its way is given up."""
        images = []
        for picture in self._pictures:
            if picture.image is None and not self._given_up:
                picture.wanted_by -= 1
                picture.is_wanted = picture.wanted_by > 0
            images.append(
                picture.image or FetchedImage(picture.location, problem=NOT_IN_TIME, transient=True)
            )
        self._given_up = True
        return FetchedPost(self.post, (*images, *self._left_out))


def completed(awaited: Sequence[AwaitedPost]) -> list[FetchedPost]:
    """Wait for posts of one fetch until each is complete or its time is up."""
    if awaited:
        came = threading.Event()
        awaited[0].batch.tell(came.set)
        while waiting := [post for post in awaited if not post.is_over()]:
            came.wait(max(0.001, max(post.over_at() for post in waiting) - time.monotonic()))
            came.clear()
    return [post.fetched() for post in awaited]
