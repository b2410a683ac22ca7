"""Settings as `deadpan settings` and the documentation show them: secrets masked."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

_SECRET_OPTION = re.compile(
    r"([?&][^=&]*(?:pass|secret|token|key|credential|pwd)[^=&]*=)[^&#]*", re.IGNORECASE
)


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting may hold a password and is never shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def shown(name: str, value: Any) -> str:
    """A value as the environment would carry it, without its password."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return without_password(secret) if "://" in secret and name.endswith("url") else "(set)"
    if isinstance(value, dict):
        return ",".join(f"{name}:{given}" for name, given in value.items())
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def without_password(url: str) -> str:
    """A URL fit to be shown: passwords, also those among its options, are replaced by `***`."""
    url = _SECRET_OPTION.sub(r"\1***", url)
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, separator, credentials = head.partition("://")
    user = credentials.split(":", 1)[0]
    return f"{scheme}{separator}{user}:***@{tail}"


def type_name(field: FieldInfo) -> str:
    """The type of a setting in words."""
    kind: Any = get_origin(field.annotation) or field.annotation
    if kind is Literal:
        return " | ".join(get_args(field.annotation))
    return {int: "whole number", float: "number", tuple: "list", dict: "list"}.get(kind, "text")
