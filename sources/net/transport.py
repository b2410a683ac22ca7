"""HTTP with a deadline for the whole exchange, a bounded body and, if asked, a pinned address.

urllib3 without requests: that one would keep cookies, read proxies and netrc from the environment
and the body of a redirect whole, however large it is; and its objects cost as much CPU for a small
picture as the exchange itself.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import math
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import urllib3

from sources.net.addresses import Address
from sources.net.connection import BudgetSSLSocket, Pool, SecurePool, TransferError

Response = urllib3.BaseHTTPResponse

MAX_RETRY_AFTER_SECONDS = 3600.0
_READ_BYTES = 64 * 1024


class BodyTooLargeError(TransferError):
    """The body is larger than the caller wants."""


# What `canonical` would give back as it is; `/.` may begin a step that has to be taken out.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::(?:[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
    r"(?:/(?!\.)[A-Za-z0-9_~.-]*)+(?:\?[A-Za-z0-9_~.=&/-]+)?"
)


class Transport:
    """A pool of connections. Safe to use from several threads."""

    def __init__(self, *, connections: int) -> None:
        self._pools = urllib3.PoolManager(32, maxsize=connections)
        self._pools.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

    def close(self) -> None:
        """Close the connections that wait for another use."""
        self._pools.clear()

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()  # the system's authorities, or SSL_CERT_FILE's
        context.load_verify_locations(certifi.where())  # slim images come without any
        context.sslsocket_class = BudgetSSLSocket
        return context

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str],
        body: bytes | None = None,
        address: Address | None = None,
        connect_seconds: float | None = None,
    ) -> Iterator[Response]:
        """Ask something of a URL that may be asked twice; redirects are the caller's.

        Args:
            url: http or https, as `canonical` returns it.
            seconds: for everything from the first packet to the last byte of the body.
            address: connect there instead of looking the host name up.
            connect_seconds: less than `seconds`, where other addresses could be tried.

        Yields:
            The answer, its body still unread; see `read_body`.

        Raises:
            TransferError: there is no answer.
        """
        parts = urlsplit(url)
        sent = dict(headers)
        how: dict[str, Any] = {"ssl_context": self._tls} if parts.scheme == "https" else {}
        host = parts.hostname or ""
        if address is not None:
            sent["Host"] = parts.netloc
            # The pool key holds both, so a connection is used again only for the same name at the
            # same checked address; the name is what TLS asks for and verifies.
            if parts.scheme == "https":
                how["server_hostname"] = host.rstrip(".")
            host = str(address)
        pool = self._pools.connection_from_host(host, parts.port, parts.scheme, pool_kwargs=how)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        send = functools.partial(
            pool.urlopen,
            method,
            target,
            headers=sent,
            body=body,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        response = _answered(send, time.monotonic() + seconds, connect_seconds)
        try:
            yield response
            _drain(response)
        finally:
            # Read to its end, the connection went back to its pool; otherwise it is closed here.
            response.close()
            response.release_conn()


def _answered(
    send: Callable[..., Response], ends_at: float, connect_seconds: float | None
) -> Response:
    for is_last in (False, True):
        left_seconds = ends_at - time.monotonic()
        if left_seconds <= 0:
            break
        try:
            return send(timeout=urllib3.Timeout(total=left_seconds, connect=connect_seconds))
        except urllib3.exceptions.TimeoutError as error:
            raise TransferError("did not answer in time", transient=True) from error
        except urllib3.exceptions.HTTPError as error:
            # A connection that was kept may have been closed by the other side just now. What is
            # asked here may be asked twice, so the second try tells that apart from a host in
            # trouble.
            if is_last:
                raise TransferError("broke off the connection", transient=True) from error
    raise TransferError("did not answer in time", transient=True)


def read_body(response: Response, max_bytes: int) -> bytes:
    """Read a body, decoded, to its end.

    Raises:
        BodyTooLargeError: it announces or has more than `max_bytes` decoded bytes.
        TransferError: it is cut short, cannot be decoded, or takes too long.
    """
    announced = response.headers.get("Content-Length", "")
    if announced.isascii() and announced.isdigit() and _as_int(announced) > max_bytes:
        raise BodyTooLargeError(f"sent more than {max_bytes} bytes", transient=False)
    body = bytearray()
    try:
        # Not `stream` or `read`: both take a chunk of size "-1" for "all there is" and keep it in
        # memory (urllib3 2.8, http.client of Python 3.11); `read1` returns what one recv brought.
        while piece := response.read1(_READ_BYTES, decode_content=True):
            body += piece
            if len(body) > max_bytes:
                raise BodyTooLargeError(f"sent more than {max_bytes} bytes", transient=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise TransferError("did not finish its answer in time", transient=True) from error
    except urllib3.exceptions.DecodeError as error:
        raise TransferError("sent a body that cannot be decompressed", transient=True) from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise TransferError("broke off its answer", transient=True) from error
    return bytes(body)


def _drain(response: Response) -> None:
    """Read what is left of a small body, a redirect's or a 404's, to keep its connection."""
    announced = response.headers.get("Content-Length", "")
    if announced.isascii() and announced.isdigit() and _as_int(announced) <= _READ_BYTES:
        with contextlib.suppress(TransferError):
            read_body(response, _READ_BYTES)


def _as_int(digits: str) -> int:
    return int(digits[:20])  # a million digits would take int() a while, or make it refuse


def canonical(url: str) -> str:
    """A URL as it will be sent: host in ASCII, path and query quoted.

    Raises:
        ValueError: it is no http or https URL.
    """
    if _PLAIN_URL.fullmatch(url):
        return url
    try:
        # Not `urlsplit(url).scheme`: that one overlooks control characters before the scheme, and
        # requests then takes the URL for another protocol's and leaves it as it is.
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError("it does not begin with http:// or https://")
        prepared = requests.PreparedRequest()
        prepared.prepare_url(url, None)
        parts = urlsplit(str(prepared.url))
        if not parts.hostname or parts.port == 0 or "%" in parts.hostname:  # %: an IPv6 zone
            raise ValueError("it names no host")
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise ValueError("it is not a valid URL") from error
    return str(prepared.url)


def retry_after_seconds(response: Response) -> float | None:
    """What Retry-After asks for, 0 to 3600 seconds, or None where it is absent or unreadable."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(_as_int(value)), MAX_RETRY_AFTER_SECONDS)
    try:
        when = email.utils.parsedate_to_datetime(value)
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return float(math.ceil(min(max(seconds.total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)))
