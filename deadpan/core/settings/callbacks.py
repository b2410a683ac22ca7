"""What the platform is told, where, and how it is signed."""

from __future__ import annotations

import base64
import binascii
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from deadpan.core.settings.kinds import Group, WebAddress, split


class Callbacks(Group):
    """Where callbacks go and how they are retried."""

    callback_url: WebAddress = ""
    """Where callbacks are sent: https://…, or http://… within DEADPAN_ALLOW_PRIVATE_ADDRESSES.
    Empty turns callbacks off. This URL is shown as it is, so put no password in it."""
    callback_secret: SecretStr | None = None
    """Signs callbacks: whsec_ and base64, as `deadpan callbacks secret` makes it. Give several,
    separated by commas, while receivers change over; each one signs."""
    callback_verdicts: Literal["all", "flagged", "none"] = "all"
    """Which new verdicts trigger a callback."""
    callback_timeout_seconds: float = Field(10.0, gt=0, le=120.0)
    """Longest wait for the receiver of a callback."""
    callback_connections: int = Field(8, ge=1, le=64)
    """Most callbacks that are being sent at once."""
    callback_retry_base_seconds: float = Field(5.0, gt=0, le=600.0)
    """Delay after the first failed try of a callback; it doubles each time, up to 2 hours. After 27
    tries, more than a day, the callback is parked."""

    @field_validator("callback_secret")
    @classmethod
    def _signing_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        signing_secrets(value)
        return value

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.callback_url and self.callback_secret is None:
            raise ValueError(
                "DEADPAN_CALLBACK_URL is set but DEADPAN_CALLBACK_SECRET is not; "
                "make one with `deadpan callbacks secret` and give it to the receiver too"
            )
        return self


def signing_secrets(value: SecretStr | None) -> tuple[bytes, ...]:
    """The keys that sign callbacks, decoded, in their order; none if there is no setting.

    Raises:
        ValueError: one of them is not `whsec_` and base64 of 24 to 64 bytes."""
    keys = []
    for number, part in enumerate(split(value.get_secret_value()) if value else (), start=1):
        try:
            key = base64.b64decode(part.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        # The sizes that Standard Webhooks asks for.
        if not part.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError(
                f"secret {number} is not whsec_ and the base64 of 24 to 64 bytes; "
                "make one with `deadpan callbacks secret`"
            )
        keys.append(key)
    return tuple(keys)
