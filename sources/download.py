"""Downloads the images of posts from addresses that strangers chose."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

from sources.addresses import Address, NameLookupError, Network, is_public, is_within, resolve
from sources.connection import TransferError
from sources.post import FetchedImage, FetchedPost, Post
from sources.threads import Threads
from sources.transport import (
    BodyTooLargeError,
    Response,
    Transport,
    canonical,
    read_body,
    retry_after_seconds,
)

log = logging.getLogger(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (408, 425, 429)
_MAX_URL_CHARACTERS = 8192
_MAX_ADDRESSES = 4  # of one host; a name server may list hundreds


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may cost, and where it may come from.

    Attributes:
        max_bytes: of one image, decompressed.
        max_images: of one post; the others are left out and say so.
        max_fetch_bytes: of all images of one fetch, which are in memory together.
        hosts: names that images may come from, such as `img.example.com` or `*.example.com`
            (any name below it); empty for any.
        allowed_networks: addresses that are allowed although they are not public.
        timeout_seconds: for one image, with its redirects.
        max_redirects: followed for one image.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_images: int = 10
    max_fetch_bytes: int = 1024 * 1024 * 1024
    hosts: tuple[str, ...] = ()
    allowed_networks: tuple[Network, ...] = ()
    timeout_seconds: float = 10.0
    max_redirects: int = 3


class _RefusalError(Exception):
    """The image is not there; the text is for a moderator."""

    def __init__(
        self, problem: str, *, transient: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(problem)
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds


class _Room:
    """How many more bytes the images of one fetch may take together."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True


class ImageDownloader:
    """Downloads images in a bounded pool of threads. Safe to use from several threads.

    Args:
        limits: what an image may cost, and where it may come from.
        threads: how many images are downloaded at once, over all fetches.
    """

    def __init__(self, limits: ImageLimits, *, threads: int) -> None:
        self._limits = limits
        self._transport = Transport(connections=threads)
        self._threads = Threads(threads, "deadpan-image")

    def close(self) -> None:
        """Give back connections and threads, after the downloads that are under way."""
        self._threads.close()
        self._transport.close()

    def complete(
        self, posts: Sequence[Post], read: Callable[[str], FetchedImage] | None = None
    ) -> list[FetchedPost]:
        """Add the bytes of their images to posts; an address named twice is downloaded once.

        Args:
            posts: of one fetch.
            read: used instead of a download, where it is given.

        Returns:
            One for each post, in order, with one image for each of the post's images.
        """
        room = _Room(self._limits.max_fetch_bytes)
        wanted: dict[str, Future[FetchedImage]] = {}
        for post in posts:
            for location in post.images[: self._limits.max_images]:
                if location not in wanted:
                    wanted[location] = self._threads.submit(
                        self._within, room, read or self.download, location
                    )
        too_many = f"only the first {self._limits.max_images} images of a post are looked at"
        if self._limits.max_images == 0:
            too_many = "images are not looked at (DEADPAN_MAX_IMAGES is 0)"
        completed = []
        for post in posts:
            taken = post.images[: self._limits.max_images]
            images = [_result(location, wanted[location]) for location in taken]
            images += [
                FetchedImage(location, problem=too_many) for location in post.images[len(taken) :]
            ]
            completed.append(FetchedPost(post, tuple(images)))
        return completed

    def _within(
        self, room: _Room, load: Callable[[str], FetchedImage], location: str
    ) -> FetchedImage:
        try:
            image = load(location)
        except Exception:
            # One image never takes a chunk down, whatever a stranger found to break us with.
            log.exception("downloading an image failed unexpectedly")
            return FetchedImage(location, problem="the image could not be downloaded")
        if image.content is not None and not room.take(len(image.content)):
            # In another chunk, with smaller neighbours, it may fit.
            problem = "the images of the posts fetched together are too large"
            return FetchedImage(location, problem=problem, transient=True)
        return image

    def download(self, url: str) -> FetchedImage:
        """Download one image, or say why not. Never raises for what the host does."""
        try:
            content, final_url = self._follow(url)
            return FetchedImage(url, content=content, final_url=final_url)
        except _RefusalError as refusal:
            return FetchedImage(
                url,
                problem=str(refusal),
                transient=refusal.transient,
                retry_after_seconds=refusal.retry_after_seconds,
            )

    def _follow(self, url: str) -> tuple[bytes, str]:
        """The image's bytes, and where they came from."""
        ends_at = time.monotonic() + self._limits.timeout_seconds
        for _ in range(self._limits.max_redirects + 1):
            url = self._checked_url(url)
            addresses = self._checked_addresses(urlsplit(url), ends_at)
            answer = self._ask(url, addresses, ends_at)
            if isinstance(answer, bytes):
                return answer, url
            url = answer
        raise _RefusalError(
            f"the image was redirected more than {self._limits.max_redirects} times"
        )

    def _checked_url(self, url: str) -> str:
        if len(url) > _MAX_URL_CHARACTERS:
            raise _RefusalError(
                f"the image address is longer than {_MAX_URL_CHARACTERS} characters"
            )
        try:
            url = canonical(url.strip())
        except ValueError as error:
            raise _RefusalError(f"the image address cannot be used: {error}") from error
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise _RefusalError("the image address holds a user name or password")
        if self._limits.hosts and not _is_listed(parts.hostname or "", self._limits.hosts):
            raise _RefusalError(f"the image host {parts.hostname} is not one of the allowed hosts")
        return url

    def _checked_addresses(self, parts: SplitResult, ends_at: float) -> list[Address]:
        """Look the host up, once, and check every address that comes back.

        One wrong address among right ones refuses the host: which of them a connection goes to
        would otherwise be the stranger's choice.
        """
        port = parts.port or (443 if parts.scheme == "https" else 80)
        seconds = max(0.0, ends_at - time.monotonic())
        try:
            addresses = resolve(parts.hostname or "", port, seconds=seconds)
        except NameLookupError as failure:
            raise _RefusalError(
                f"the image host {parts.hostname} was not found: {failure}",
                transient=failure.transient,
            ) from failure
        inside = all(is_within(address, self._limits.allowed_networks) for address in addresses)
        for address in addresses:
            if not is_within(address, self._limits.allowed_networks) and not is_public(address):
                # The address itself is left out: it would tell a stranger about the network.
                raise _RefusalError("the image address leads into a private network")
        if port not in (80, 443) and not inside:
            raise _RefusalError(f"the image address uses port {port}; only 80 and 443 are allowed")
        return addresses[:_MAX_ADDRESSES]

    def _ask(self, url: str, addresses: list[Address], ends_at: float) -> bytes | str:
        """The image's bytes, or the URL that the host redirects to."""
        for number, address in enumerate(addresses):
            left_seconds = ends_at - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                with self._transport.get(
                    url,
                    seconds=left_seconds,
                    connect_seconds=left_seconds / (len(addresses) - number),
                    headers={"User-Agent": "Deadpan", "Accept": "image/*"},
                    address=address,
                ) as response:
                    return self._taken(response, url)
            except BodyTooLargeError as error:
                limit = self._limits.max_bytes
                raise _RefusalError(f"the image is larger than {limit} bytes") from error
            except TransferError as error:
                if error.before_request and number + 1 < len(addresses):
                    continue
                raise _RefusalError(f"the image host {error}", transient=error.transient) from error
        raise _RefusalError("the image host did not answer in time", transient=True)

    def _taken(self, response: Response, url: str) -> bytes | str:
        status = response.status
        if status in _REDIRECTS and "Location" in response.headers:
            try:
                return urljoin(url, response.headers["Location"])
            except ValueError as error:
                raise _RefusalError("the image host redirects to no valid address") from error
        if status in (200, 203):
            content = read_body(response, self._limits.max_bytes)
            if not content:
                raise _RefusalError("the image host sent nothing")
            return content
        raise _RefusalError(
            f"the image host answered {described(status)}",
            transient=status in _LATER or status >= 500,
            retry_after_seconds=(
                retry_after_seconds(response) if status in (*_LATER, 503) else None
            ),
        )


def described(status: int) -> str:
    """An HTTP status as a person reads it: `404 (not found)`."""
    try:
        return f"{status} ({HTTPStatus(status).phrase.lower()})"
    except ValueError:
        return str(status)


def _is_listed(host: str, listed: Iterable[str]) -> bool:
    host = host.rstrip(".").lower()
    for name in listed:
        name = name.rstrip(".").lower()
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False


def _result(location: str, future: Future[FetchedImage]) -> FetchedImage:
    try:
        return future.result()
    except CancelledError:
        problem = "the worker was stopped before the image was downloaded"
        return FetchedImage(location, problem=problem, transient=True)
