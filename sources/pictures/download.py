"""Downloads the images of posts from addresses that strangers chose."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from sources.net.addresses import Address
from sources.net.connection import TransferError
from sources.net.threads import Threads
from sources.net.transport import (
    BodyTooLargeError,
    Response,
    Transport,
    read_body,
    retry_after_seconds,
)
from sources.pictures.allowed import (
    ImageLimits,
    RefusalError,
    checked_addresses,
    checked_url,
    port_of,
)
from sources.pictures.awaited import (
    NOT_IN_TIME,
    PATIENT_SECONDS,
    POST_SECONDS,
    AwaitedPost,
    Batch,
    Picture,
    completed,
)
from sources.pictures.hosts import Hosts, Name, names_of
from sources.pictures.lanes import Lanes
from sources.post import FetchedImage, FetchedPost, Post

log = logging.getLogger(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (408, 425, 429)
_MAX_LOOKUPS = 64  # of names at once; one that is not answered lasts up to half a minute

QUICK_SECONDS = 1.5
"""For the first try of a picture, with its redirects."""

LISTED_QUICK_SECONDS = 3.0
"""The same for hosts that the operator named (DEADPAN_IMAGE_HOSTS)."""

SLOW_SECONDS = 5.0
"""For a try in the slow threads."""

MAX_TRIES = 3
"""Of one picture. Of those that last until their time is up, a second one is the last."""

AGAIN_SECONDS = 0.5
"""After a try that ended at once, such as a 503; doubles."""

MAX_WAIT_SECONDS = 3.0
"""For so long a host is waited for that names a time (Retry-After); one that asks for more is left
alone, and its pictures are looked for again much later."""

_LEFT_ALONE = "the image host did not answer in time before; it is not asked again for a while"
_STOPPED = "the worker was stopped before the image was downloaded"
_BROKE = "the image could not be downloaded"


class ImageDownloader:
    """Downloads images in bounded sets of threads. Safe to use from several threads.

    A picture has few and short tries, a post a time for all of its pictures, and no host, domain
    or address more than a part of the threads; see `sources.pictures.lanes` and decision 0016.

    Args:
        limits: what an image may cost, and where it may come from.
        threads: how many images of good hosts are downloaded at once, over all fetches; as many
            again wait for hosts that are slow.
    """

    def __init__(self, limits: ImageLimits, *, threads: int) -> None:
        self._limits = limits
        self._transport = Transport(connections=2 * threads)
        self._hosts = Hosts(closed=_say_closed)
        self._lanes: Lanes[Picture] = Lanes(
            2 * threads,
            self._hosts,
            step=self._step,
            refuse=lambda picture: self._over(picture, _LEFT_ALONE, transient=True),
            cancel=lambda picture: self._over(picture, _STOPPED, transient=True),
        )
        self._readers = Threads(threads, "deadpan-image-file")
        self._lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def close(self) -> None:
        """Give back connections and threads, after the downloads that are under way."""
        self._lanes.close()
        self._readers.close()
        self._transport.close()

    def closed_hosts(self) -> int:
        """How many hosts are not asked now, because they did not answer."""
        return self._hosts.closed()

    def begin(
        self, posts: Sequence[Post], read: Callable[[str], FetchedImage | None] | None = None
    ) -> list[FetchedPost | AwaitedPost]:
        """Begin to download the images of posts; an address named twice is downloaded once.

        Args:
            posts: of one fetch.
            read: reads an image that is no download, and gives None for one that is.

        Returns:
            One for each post, in order: posts without images are there at once.
        """
        batch = Batch(self._limits.max_fetch_bytes)
        wanted: dict[str, Picture] = {}
        too_many = f"only the first {self._limits.max_images} images of a post are used"
        if self._limits.max_images == 0:
            too_many = "images are turned off (DEADPAN_MAX_IMAGES is 0)"
        begun: list[FetchedPost | AwaitedPost] = []
        for post in posts:
            taken = post.images[: self._limits.max_images]
            left_out = [
                FetchedImage(location, problem=too_many) for location in post.images[len(taken) :]
            ]
            for location in taken:
                if location not in wanted:
                    ends_at = batch.began_at + (POST_SECONDS if read is None else PATIENT_SECONDS)
                    wanted[location] = Picture((), location=location, batch=batch, ends_at=ends_at)
            if taken:
                pictures = [wanted[location] for location in taken]
                begun.append(AwaitedPost(post, pictures, left_out, batch, self._is_good))
            else:
                begun.append(FetchedPost(post, tuple(left_out)))
        for picture in wanted.values():
            if read is None:
                self._submit(picture)
            else:
                future = self._readers.submit(self._read, picture, read)
                if future.cancelled():
                    self._over(picture, _STOPPED, transient=True)
        return begun

    def download(self, url: str) -> FetchedImage:
        """Download one image, or say why not. Never raises for what the host does."""
        begun = self.begin([Post("", "", (url,))])
        (post,) = completed([post for post in begun if isinstance(post, AwaitedPost)])
        return post.images[0]

    def _is_good(self, picture: Picture) -> bool:
        return picture.is_listed or self._hosts.standing(picture.names) == "good"

    def _read(self, picture: Picture, read: Callable[[str], FetchedImage | None]) -> None:
        try:
            image = read(picture.location)
        except Exception:
            log.exception("reading an image failed unexpectedly")
            image = FetchedImage(picture.location, problem=_BROKE)
        if image is None:
            self._submit(picture)
        else:
            self._came(picture, image)

    def _submit(self, picture: Picture) -> None:
        try:
            self._aim(picture, picture.location)
        except RefusalError as refusal:
            self._over(picture, str(refusal))
            return
        except Exception:
            log.exception("an image address could not be read")
            self._over(picture, _BROKE)
            return
        picture.ends_at = picture.batch.began_at + POST_SECONDS
        self._begin_try(picture)
        self._lanes.submit(picture)

    def _aim(self, picture: Picture, url: str) -> None:
        """Note the URL that is asked next."""
        picture.url = checked_url(url, self._limits)
        parts = urlsplit(picture.url)
        host = parts.hostname or ""
        picture.names = names_of(host, port_of(parts))
        picture.addresses = None
        picture.is_listed = bool(self._limits.hosts)  # no others pass

    def _begin_try(self, picture: Picture) -> None:
        if picture.lane == "quick" and self._hosts.standing(picture.names) == "slow":
            picture.lane = "slow"
        seconds = SLOW_SECONDS
        if picture.lane == "quick":
            seconds = LISTED_QUICK_SECONDS if picture.is_listed else QUICK_SECONDS
        picture.left_seconds = min(seconds, self._limits.timeout_seconds)

    def _step(self, picture: Picture) -> float | None:
        """One step of a download; see `Lanes`."""
        try:
            return self._stepped(picture)
        except Exception:
            # One image never takes a chunk down, whatever a stranger found to break us with.
            log.exception("downloading an image failed unexpectedly")
            self._over(picture, _BROKE)
            return None

    def _stepped(self, picture: Picture) -> float | None:
        began_at = time.monotonic()
        if self._is_good(picture):
            # It may have waited for a thread for longer than a post's time.
            picture.ends_at = max(picture.ends_at, began_at + picture.left_seconds)
        ends_at = min(picture.ends_at, began_at + picture.left_seconds)
        host = picture.names[0]
        try:
            answer: bytes | str | None = picture.url
            while isinstance(answer, str) and picture.names[0] == host:
                answer = self._hop(picture, ends_at)
        except RefusalError as refusal:
            return self._refused(picture, refusal, is_late=time.monotonic() >= ends_at - 0.01)
        spent_seconds = time.monotonic() - began_at
        if isinstance(answer, bytes):
            self._hosts.gave(picture.names, quick=spent_seconds <= QUICK_SECONDS)
            image = FetchedImage(picture.location, content=answer, final_url=picture.url)
            self._came(picture, image)
            return None
        picture.left_seconds -= spent_seconds
        if self._hosts.standing(picture.names) == "slow":
            picture.lane = "slow"
        return 0.0

    def _refused(self, picture: Picture, refusal: RefusalError, *, is_late: bool) -> float | None:
        """After a try that was in vain: when the next one begins, or None."""
        picture.tries += 1
        names, later = picture.names, refusal.later_seconds
        if refusal.answered:
            self._hosts.gave(names, quick=False)
        if is_late and refusal.transient:
            self._hosts.hung(names)
        wait_seconds = later
        if wait_seconds is None:
            wait_seconds = 0.0 if is_late else AGAIN_SECONDS * 2.0 ** (picture.tries - 1)
        may_go_on = (
            refusal.transient
            and picture.tries < MAX_TRIES
            and not (is_late and picture.lane == "slow")
            and wait_seconds <= MAX_WAIT_SECONDS
            and time.monotonic() + wait_seconds + AGAIN_SECONDS < picture.ends_at
        )
        if may_go_on:
            picture.lane = "slow" if is_late else picture.lane
            self._begin_try(picture)
            return wait_seconds
        if refusal.transient:
            self._hosts.failed(names)
        if later:
            self._hosts.leave_alone(names[0], later)
        self._over(picture, str(refusal), transient=refusal.transient)
        return None

    def _came(self, picture: Picture, image: FetchedImage) -> None:
        content = image.content
        if content is not None and not picture.batch.has_room(len(content)):
            # In another chunk, with smaller neighbours, it may fit.
            problem = "the images of the posts fetched together are too large"
            image = FetchedImage(picture.location, problem=problem, transient=True)
        picture.batch.note(picture, image)

    def _over(self, picture: Picture, problem: str, *, transient: bool = False) -> None:
        image = FetchedImage(picture.location, problem=problem, transient=transient)
        picture.batch.note(picture, image)

    def _hop(self, picture: Picture, ends_at: float) -> bytes | str | None:
        """The image's bytes, or the URL that is asked next, or None where the address that was
        found has no thread left."""
        parts = urlsplit(picture.url)
        if picture.addresses is None:
            seconds = max(0.0, ends_at - time.monotonic())
            picture.addresses = checked_addresses(
                parts, self._limits, seconds=seconds, lookups=self._lookups
            )
        first = picture.addresses[0]
        names = names_of(parts.hostname or "", port_of(parts), first)
        if not self._lanes.may_ask(picture, names):
            return None
        answer = self._ask(picture.url, picture.addresses, ends_at)
        if isinstance(answer, bytes):
            return answer
        picture.redirects += 1
        if picture.redirects > self._limits.max_redirects:
            raise RefusalError(
                f"the image was redirected more than {self._limits.max_redirects} times",
                answered=True,
            )
        self._aim(picture, answer)
        return picture.url

    def _ask(self, url: str, addresses: list[Address], ends_at: float) -> bytes | str:
        """The image's bytes, or the URL that the host redirects to."""
        for number, address in enumerate(addresses):
            left_seconds = ends_at - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                with self._transport.request(
                    "GET",
                    url,
                    seconds=left_seconds,
                    connect_seconds=left_seconds / (len(addresses) - number),
                    headers={"User-Agent": "Deadpan", "Accept": "image/*"},
                    address=address,
                ) as response:
                    return self._taken(response, url)
            except BodyTooLargeError as error:
                limit = self._limits.max_bytes
                raise RefusalError(
                    f"the image is larger than {limit} bytes", answered=True
                ) from error
            except TransferError as error:
                if error.before_request and number + 1 < len(addresses):
                    continue
                raise RefusalError(f"the image host {error}", transient=error.transient) from error
        raise RefusalError(NOT_IN_TIME, transient=True)

    def _taken(self, response: Response, url: str) -> bytes | str:
        status = response.status
        if status in _REDIRECTS and "Location" in response.headers:
            try:
                return urljoin(url, response.headers["Location"])
            except ValueError as error:
                raise RefusalError(
                    "the image host redirects to an invalid address", answered=True
                ) from error
        if status in (200, 203):
            content = read_body(response, self._limits.max_bytes)
            if not content:
                raise RefusalError("the image host sent nothing", answered=True)
            return content
        raise RefusalError(
            f"the image host answered {described(status)}",
            transient=status in _LATER or status >= 500,
            answered=status not in _LATER and status < 500,
            later_seconds=retry_after_seconds(response) if status in (*_LATER, 503) else None,
        )


def _say_closed(name: Name, seconds: float) -> None:
    log.warning("the image %s %s does not answer; it is not asked for %.0f seconds", *name, seconds)


def described(status: int) -> str:
    """An HTTP status as a person reads it: `404 (not found)`."""
    try:
        return f"{status} ({HTTPStatus(status).phrase.lower()})"
    except ValueError:
        return str(status)
