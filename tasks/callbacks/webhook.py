"""One callback: an event as a signed request, and what the receiver's answer means.

The receiver's address is the operator's own, and yet checked like an image's: a name that is looked
up may lead anywhere tomorrow. Redirects are not followed, for what is signed is for one receiver.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from deadpan.core import __version__
from sources.net.addresses import (
    Address,
    NameLookupError,
    Network,
    is_public,
    is_within,
    resolve,
    written_addresses,
)
from sources.net.connection import TransferError
from sources.net.transport import Response, Transport, canonical, read_body, retry_after_seconds
from storage.judging.outbox import TakenEvent

_MAX_ADDRESSES: Final = 4
_MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one try."""

    delivered: bool
    error: str = ""  # why not, in words
    is_final: bool = False  # the receiver wants no further try
    is_receivers: bool = False  # the receiver is in trouble as a whole, not with this event alone
    retry_after_seconds: float | None = None  # what the receiver asked for


def body_of(event: TakenEvent) -> bytes:
    """The request's body: the same bytes on every try."""
    told = {
        "type": event.event,
        "timestamp": event.created_at.isoformat(),
        "data": dict(event.payload),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`, as Standard Webhooks 1.0 has it
    (https://www.standardwebhooks.com): one signature for each key, so that keys can change.

    Args:
        keys: decoded secrets; a receiver that knows any one of them can verify.
        message_id: the header `webhook-id`; without a dot.
        timestamp: the header `webhook-timestamp`, in seconds since 1970.
        body: as it is sent.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in keys
    )


def receiver_problem(url: str, allowed_networks: Sequence[Network]) -> str | None:
    """Says why nothing can ever be sent to a receiver, as far as its URL alone tells."""
    try:
        parts = urlsplit(canonical(url))
    except ValueError as error:
        return f"DEADPAN_CALLBACK_URL is {url!r}: {error}; use the form https://HOST/PATH"
    host = parts.hostname or ""
    # A name tells nothing until it is looked up, when something is sent.
    problems = [
        _address_problem(host, address, parts.scheme == "https", allowed_networks)
        for address in written_addresses(host)
    ]
    return problems[0] if problems and None not in problems else None


def _address_problem(
    host: str, address: Address, is_secure: bool, allowed_networks: Sequence[Network]
) -> str | None:
    if is_within(address, allowed_networks):
        return None
    if not is_public(address):
        return (
            f"the receiver's host {host} has the private address {address}; "
            "if that is intended, add its network to DEADPAN_ALLOW_PRIVATE_ADDRESSES"
        )
    if not is_secure:
        return (
            f"the receiver's host {host} has the public address {address}, and "
            "DEADPAN_CALLBACK_URL begins with http://; use https://"
        )
    return None


class Sender:
    """Sends callbacks to one receiver. Safe to use from several threads.

    Args:
        url: of the receiver, http or https.
        keys: that sign; see `signature`.
        timeout_seconds: for one try, from the name's lookup to the answer's end.
        allowed_networks: addresses that are allowed although they are not public.
        connections: kept open.

    Raises:
        ValueError: the URL is invalid.
    """

    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        *,
        timeout_seconds: float,
        allowed_networks: Sequence[Network] = (),
        connections: int = 8,
    ) -> None:
        self._url = canonical(url)
        parts = urlsplit(self._url)
        self._host = parts.hostname or ""
        self._is_secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_secure else 80)
        self._keys = tuple(keys)
        self.timeout_seconds = timeout_seconds
        self._networks = tuple(allowed_networks)
        self._transport = Transport(connections=connections)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    def send(self, event: TakenEvent, *, traceparent: str | None = None) -> Answer:
        """Try once. Never raises for what the receiver does.

        Args:
            traceparent: sent as the header of this name; if left out, the event's own.
        """
        traceparent = traceparent or event.traceparent
        ends_at = time.monotonic() + self.timeout_seconds
        try:
            addresses = resolve(self._host, self._port, seconds=self.timeout_seconds)
        except NameLookupError as error:
            return _no_answer(f"the receiver's host {self._host} was not found: {error}")
        for address in addresses:
            problem = _address_problem(self._host, address, self._is_secure, self._networks)
            if problem is not None:
                return _no_answer(problem)
        return self._post(event, traceparent, addresses[:_MAX_ADDRESSES], ends_at)

    def _post(
        self,
        event: TakenEvent,
        traceparent: str | None,
        addresses: Sequence[Address],
        ends_at: float,
    ) -> Answer:
        body = body_of(event)
        # Of this try and not of the event: a receiver refuses what is older than some minutes.
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Deadpan/{__version__}",
            "webhook-id": event.idempotency_key,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._keys, event.idempotency_key, timestamp, body),
        }
        if traceparent is not None:
            headers["traceparent"] = traceparent
        for number, address in enumerate(addresses):
            left_seconds = ends_at - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                with self._transport.request(
                    "POST",
                    self._url,
                    seconds=left_seconds,
                    connect_seconds=left_seconds / (len(addresses) - number),
                    headers=headers,
                    body=body,
                    address=address,
                ) as response:
                    answer = _meaning_of(response)
                    _finish(response)
                    return answer
            except TransferError as error:
                if error.before_request and number + 1 < len(addresses):
                    continue
                return _no_answer(f"the receiver {error}")
        return _no_answer("the receiver did not answer in time")


def _no_answer(error: str) -> Answer:
    return Answer(delivered=False, error=error, is_receivers=True)


def _finish(response: Response) -> None:
    """Read what little the receiver has to say, so that its connection can be used again."""
    if "Content-Encoding" not in response.headers:
        with contextlib.suppress(TransferError):
            read_body(response, _MAX_BODY_BYTES)


def _meaning_of(response: Response) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(delivered=True)
    try:
        said = f"the receiver answered {status} ({HTTPStatus(status).phrase.lower()})"
    except ValueError:
        said = f"the receiver answered {status}"
    if 300 <= status < 400:
        said += "; redirects are not followed: set DEADPAN_CALLBACK_URL to the final address"
    asks_to_wait = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return Answer(
        delivered=False,
        error=said,
        is_final=status == HTTPStatus.GONE,
        is_receivers=status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS,
        retry_after_seconds=retry_after_seconds(response) if asks_to_wait else None,
    )
