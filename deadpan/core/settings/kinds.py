"""Types that several groups of settings use, and how each is written in an environment variable."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_DAYS = 36_500


class Group(BaseModel):
    """A group of settings. Frozen; secrets never show in `repr` or errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def split(value: Any) -> Any:
    """The parts of a comma-separated list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def pairs(form: str) -> Callable[[Any], Any]:
    """A reader of comma-separated NAME:VALUE pairs.

    Args:
        form: what one pair looks like, for error messages.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found: dict[str, str] = {}
        for part in split(value):
            name, _, given = (each.strip() for each in part.rpartition(":"))
            if not name:
                raise ValueError(f"'{part}' must be {form}")
            if name in found:
                raise ValueError(f"'{name}' is given twice; keep one")
            found[name] = given
        return found

    return read


def _network(value: Any) -> Any:
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; write networks such as 10.0.0.0/8, with commas") from None


def _web_address(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(value) > 500:
        raise ValueError("write https://HOST, at most 500 characters")
    if "@" in parts.netloc:
        raise ValueError("write https://HOST, without a user name or password")
    return value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
OnOff = Literal["on", "off"]
Days = Annotated[int, Field(ge=0, le=MAX_DAYS)]
Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(split)
]
WebAddress = Annotated[str, AfterValidator(_web_address)]
