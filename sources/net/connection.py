"""Connections of urllib3 with a deadline for each exchange as a whole, and errors in words."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from deadpan.core.errors import SourceError
from sources.net.addresses import NameLookupError, resolve


class TransferError(SourceError):
    """An exchange did not come to its end; the text goes on after "the post source …".

    Args:
        before_request: whether it failed before anything was asked, so that another address of
            the same host may be tried.
    """

    def __init__(self, message: str, *, transient: bool, before_request: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.before_request = before_request


class _Budget:
    """A socket whose timeout is for all that follows together, until it is set again.

    The usual timeout counts each read anew, so one byte every nine seconds never ends. urllib3 sets
    the timeout once before it sends and once before it waits for the answer.
    """

    _ends_at: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._ends_at = None if value is None else time.monotonic() + value
        super().settimeout(value)  # type: ignore[misc]

    def gettimeout(self) -> float | None:
        if self._ends_at is None:
            return None
        # Never 0.0: that would mean "do not block". `ssl` copies this value to its own socket.
        return max(0.001, self._ends_at - time.monotonic())

    def _spend(self) -> None:
        if self._ends_at is not None:
            left_seconds = self._ends_at - time.monotonic()
            if left_seconds <= 0:
                raise TimeoutError("timed out")
            super().settimeout(left_seconds)  # type: ignore[misc]

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._spend()
        return super().recv_into(*args, **kwargs)  # type: ignore[misc, no-any-return]

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._spend()
        return super().send(*args, **kwargs)  # type: ignore[misc, no-any-return]


class _BudgetSocket(_Budget, socket.socket):
    pass


class BudgetSSLSocket(_Budget, ssl.SSLSocket):
    """The same with TLS; for `SSLContext.sslsocket_class`."""


def _connected(host: str, port: int, seconds: float) -> socket.socket:
    """A socket connected to the first address of the host that answers, in `seconds` at most."""
    ends_at = time.monotonic() + seconds
    try:
        addresses = resolve(host, port, seconds=seconds)
    except NameLookupError as failure:
        raise TransferError(
            f"could not be found: {failure}", transient=True, before_request=True
        ) from failure
    for number, address in enumerate(addresses):
        left_seconds = max(0.001, ends_at - time.monotonic())
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        made = None
        try:
            made = _BudgetSocket(family, socket.SOCK_STREAM)  # fails where IPv6 is switched off
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(left_seconds / (len(addresses) - number))
            made.connect((str(address), port))
            made.settimeout(max(0.001, ends_at - time.monotonic()))
            return made
        except OSError as error:
            if made is not None:
                made.close()
            failed = error
    raise TransferError(_why_not_connected(failed), transient=True, before_request=True) from failed


def _why_not_connected(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "did not accept a connection in time"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection"
    return f"could not be reached: {error.strerror or error}"


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self.host, self.port, _seconds(self.timeout))


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self.host, self.port or 443, _seconds(self.timeout))

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLCertVerificationError as error:
            raise TransferError(
                f"has no valid certificate: {error.verify_message}", transient=False
            ) from error
        except TimeoutError as error:
            raise TransferError(
                "did not finish the TLS handshake in time", transient=True, before_request=True
            ) from error
        except OSError as error:  # ssl.SSLError is one
            raise TransferError(
                "broke off the TLS handshake", transient=True, before_request=True
            ) from error


def _seconds(timeout: object) -> float:
    assert isinstance(timeout, int | float), "every request has a deadline"
    return float(timeout)


class Pool(HTTPConnectionPool):
    """Connections without TLS to one host."""

    ConnectionCls = _Connection


class SecurePool(HTTPSConnectionPool):
    """Connections with TLS to one host."""

    ConnectionCls = _SecureConnection
