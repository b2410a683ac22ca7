"""Where images may be downloaded from: it is strangers who write their addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sources.net.addresses import Address, NameLookupError, Network, is_public, is_within, resolve
from sources.net.transport import canonical

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
        allowed_networks: that are allowed although they are not public.
        timeout_seconds: for one try of an image, with its redirects, where it is less than ours.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_images: int = 10
    max_fetch_bytes: int = 1024 * 1024 * 1024
    hosts: tuple[str, ...] = ()
    allowed_networks: tuple[Network, ...] = ()
    timeout_seconds: float = 10.0
    max_redirects: int = 3


class RefusalError(Exception):
    """The image is not there; the text is for a moderator.

    Args:
        transient: whether another try may end otherwise.
        answered: whether the host said so itself, and means it.
        later_seconds: what it asked for before it is asked again.
    """

    def __init__(
        self,
        problem: str,
        *,
        transient: bool = False,
        answered: bool = False,
        later_seconds: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.transient = transient
        self.answered = answered
        self.later_seconds = later_seconds


def checked_url(url: str, limits: ImageLimits) -> str:
    """The URL as it will be sent.

    Raises:
        RefusalError: it is no URL that images may come from.
    """
    if len(url) > _MAX_URL_CHARACTERS:
        raise RefusalError(f"the image address is longer than {_MAX_URL_CHARACTERS} characters")
    try:
        url = canonical(url.strip())
    except ValueError as error:
        raise RefusalError(f"the image address cannot be used: {error}") from error
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise RefusalError("the image address holds a user name or password")
    if limits.hosts and not _is_listed(parts.hostname or "", limits.hosts):
        raise RefusalError(f"the image host {parts.hostname} is not one of the allowed hosts")
    return url


def checked_addresses(
    parts: SplitResult,
    limits: ImageLimits,
    *,
    seconds: float,
    lookups: threading.BoundedSemaphore,
) -> list[Address]:
    """Look the host of a checked URL up, once, and check every address that comes back.

    One wrong address among right ones refuses the host: which of them a connection goes to would
    otherwise be the stranger's choice.

    Args:
        seconds: for the lookup.
        lookups: bounds how many names are looked up at once.

    Raises:
        RefusalError: the host is not found, or leads where images may not come from.
    """
    port = port_of(parts)
    try:
        addresses = resolve(parts.hostname or "", port, seconds=seconds, lookups=lookups)
    except NameLookupError as failure:
        raise RefusalError(
            f"the image host {parts.hostname} was not found: {failure}",
            transient=failure.transient,
        ) from failure
    outside = [each for each in addresses if not is_within(each, limits.allowed_networks)]
    if not all(map(is_public, outside)):
        # The address itself is left out: it would tell a stranger about the network.
        raise RefusalError("the image address leads into a private network")
    if port not in (80, 443) and outside:
        raise RefusalError(f"the image address uses port {port}; only 80 and 443 are allowed")
    return addresses[:_MAX_ADDRESSES]


def port_of(parts: SplitResult) -> int:
    """The port of a URL, or its scheme's own."""
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_listed(host: str, listed: Iterable[str]) -> bool:
    host = host.rstrip(".").lower()
    for name in listed:
        name = name.rstrip(".").lower()
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False
