"""Reads the fields of a post as platforms, databases and files write them.

Sources, labelled files and the demo accept the same posts because they all read them here.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

MISSING: Any = object()
"""Stands for a missing field; a null field is None."""

MAX_TEXT_CHARACTERS = 1024 * 1024
MAX_AUTHOR_CHARACTERS = 256
MAX_ID_BYTES = 256
MAX_LINK_CHARACTERS = 2048
MAX_LANGUAGE_CHARACTERS = 35  # as RFC 5646 advises for what stores tags
# A post may list a million images; only this many are read, and most of those refused.
MAX_LISTED_IMAGES = 100

_ADDRESS_NAMES = ("url", "src", "href", "uri")
"""Names under which an object holds the address of a picture."""


class WrongFieldError(ValueError):
    """A post's field has the wrong type; the text names the field."""


def read_id(value: Any) -> str | None:
    """A post's id as a string, or None; a whole number counts as its digits."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def read_text(value: Any, field: str = "text") -> str:
    """A post's text; null is empty.

    Raises:
        WrongFieldError: it is missing or not a string.
    """
    if value is MISSING:
        raise WrongFieldError(f"field '{field}' is missing")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongFieldError(f"field '{field}' is {kind_of(value)}, not a string")
    return value[:MAX_TEXT_CHARACTERS]


def read_images(value: Any, field: str = "images") -> tuple[str, ...]:
    """The addresses of a post's pictures, at most `MAX_LISTED_IMAGES`.

    Accepts one address, a list, a list as JSON in a string, and a list that became an object with
    numbers as keys; instead of an address, an object with one (`{"url": …}`). Null, false and empty
    values are no picture, in a list as well.

    Raises:
        WrongFieldError: it holds anything else.
    """
    if value is MISSING:
        return ()
    images = []
    for member in _members(value):
        address = _address(member)
        if address is None:
            where = "is" if member is value else "holds"
            raise WrongFieldError(
                f"field '{field}' {where} {kind_of(member)}, not addresses of pictures"
            )
        if address:
            images.append(address)
            if len(images) == MAX_LISTED_IMAGES:
                break
    return tuple(images)


def _members(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return (value,)
    if isinstance(value, dict) and value and all(map(_is_number, value)):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


def _is_number(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isdigit()


def _address(member: Any) -> str | None:
    """A member's address; empty if it names no picture, None if it is of the wrong type."""
    if member is None or member is False or member in ("", {}, []):
        return ""
    if isinstance(member, str):
        return member.strip()
    if isinstance(member, dict):
        named = [member[name] for name in _ADDRESS_NAMES if name in member]
        if len(named) == 1 and (named[0] is None or isinstance(named[0], str)):
            return (named[0] or "").strip()
    return None


def read_author(value: Any, field: str = "author") -> str | None:
    """The author's name, if given.

    Raises:
        WrongFieldError: it is neither a string nor a whole number.
    """
    if value is MISSING or value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise WrongFieldError(f"field '{field}' is {kind_of(value)}, not a string")
    return value[:MAX_AUTHOR_CHARACTERS]


def read_language(value: Any) -> str | None:
    """The language tag; anything but short text counts as none, rather than losing the post."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LANGUAGE_CHARACTERS:
        return None
    return value


def read_parent(value: Any) -> str | None:
    """The id of the post that this one answers; what cannot be an id counts as none."""
    parent = read_id(value)
    if parent is None or "\x00" in parent:
        return None
    try:
        return parent if len(parent.encode()) <= MAX_ID_BYTES else None
    except UnicodeEncodeError:
        return None


def read_link(value: Any) -> str | None:
    """Where people read the post: an address of http or https with a host; all else counts as none,
    for moderators are going to click on it.
    """
    if not isinstance(value, str) or len(value) > MAX_LINK_CHARACTERS:
        return None
    link = value.strip()
    if not link.isprintable() or any(letter in link for letter in ' <>"\\`{}|^'):
        return None
    try:
        parts = urlsplit(link)
        is_link = parts.scheme in ("http", "https") and bool(parts.hostname)
        link.encode()
    except ValueError:
        return None
    # A name before the host makes a link look as if it led elsewhere.
    return link if is_link and "@" not in parts.netloc else None


def kind_of(value: Any) -> str:
    """What a value is, in words: "a number", "an object"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    for kind, name in ((str, "a string"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return type(value).__name__
