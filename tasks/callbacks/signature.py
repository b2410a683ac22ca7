"""Signatures of callbacks, as Standard Webhooks 1.0 has them (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each key, so that keys can change.

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
