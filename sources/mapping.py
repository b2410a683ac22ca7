"""From what a platform answers to posts: where each field is, and what it must hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from deadpan.core.errors import SettingsError
from deadpan.core.post_fields import (
    MISSING,
    read_author,
    read_id,
    read_images,
    read_language,
    read_link,
    read_parent,
    read_text,
)
from deadpan.core.times import read_time
from sources.post import Post


@dataclass(frozen=True, slots=True)
class PostMapping:
    """Where the fields of a post are in an answer.

    Each is a dotted path: a name goes into an object, a number into a list, and `*` into every
    member of a list. `data.items` and `media.*.url` are examples.

    Attributes:
        posts: from the answer to the list of posts; empty where the answer is the list itself.
            The other paths start at one post.
        images: to the list of its image URLs, or to the only one.
        created_at: to the time, in a form that `deadpan.core.times` reads.
        language: to a tag such as `de` or `pt-BR`.
        parent: to the id of the post that this one answers.
        url: to where people read it.
        named: the fields whose paths somebody gave.
    """

    posts: str = "posts"
    id: str = "id"
    text: str = "text"
    images: str = "images"
    author: str = "author"
    created_at: str = "created_at"
    language: str = "language"
    parent: str = "parent"
    url: str = "url"
    named: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, fields: Iterable[str]) -> PostMapping:
        """Make a mapping of `field=path` each, such as `images=media.*.url`.

        Raises:
            SettingsError: a field is unknown or named twice, or its path is empty (only `posts`
                may have an empty one).
        """
        known = tuple(name for name in cls.__dataclass_fields__ if name != "named")
        paths: dict[str, str] = {}
        problems = []
        for item in fields:
            name, equals, path = (part.strip() for part in item.partition("="))
            if not equals or name not in known:
                names = ", ".join(known)
                problems.append(f"DEADPAN_SOURCE_FIELDS: '{item}' is not one of {names} with =PATH")
            elif name in paths:
                problems.append(f"DEADPAN_SOURCE_FIELDS: '{name}' is given twice; keep one")
            elif not all(path.split(".")) and (path or name != "posts"):
                problems.append(f"DEADPAN_SOURCE_FIELDS: '{item}' has an empty step in its path")
            paths[name] = path
        if problems:
            raise SettingsError(problems)
        return cls(**paths, named=tuple(paths))


def pick(value: Any, path: str) -> Any:
    """Follow a dotted path; `MISSING` where it leads nowhere, a list where it holds `*`."""
    if not path:
        return value
    name, _, rest = path.partition(".")
    if name == "*":
        if not isinstance(value, list):
            return MISSING
        found = (pick(member, rest) for member in value)
        return [member for member in found if member is not MISSING]
    if isinstance(value, dict) and name in value:
        return pick(value[name], rest)
    if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10:
        return pick(value[int(name)], rest) if int(name) < len(value) else MISSING
    return MISSING


def id_of(value: Any, mapping: PostMapping) -> str | None:
    """A post's id as a string; None where it has none. A whole number counts as its digits."""
    return read_id(pick(value, mapping.id))


def post_of(post_id: str, value: Any, mapping: PostMapping, *, base_url: str | None = None) -> Post:
    """Make a post of one object.

    Args:
        post_id: of it; it may stand beside the object.
        base_url: what relative image URLs are relative to.

    Raises:
        WrongFieldError: a field has the wrong type.
    """
    time = pick(value, mapping.created_at)
    created_at = read_time(time)
    is_unread = created_at is None and time is not MISSING and time is not None and time != ""
    images = read_images(pick(value, mapping.images), mapping.images)
    return Post(
        id=post_id,
        text=read_text(pick(value, mapping.text), mapping.text),
        images=tuple(_whole(address, base_url) for address in images),
        author=read_author(pick(value, mapping.author), mapping.author),
        created_at=created_at,
        language=read_language(pick(value, mapping.language)),
        parent=read_parent(pick(value, mapping.parent)),
        url=read_link(pick(value, mapping.url)),
        absent=tuple(
            name
            for name in mapping.named
            # Most posts answer none.
            if name not in ("posts", "id", "parent")
            and pick(value, getattr(mapping, name)) in (MISSING, [])
        ),
        unreadable=(f"created_at is {time!a:.60}, which is not a time",) if is_unread else (),
    )


def _whole(address: str, base_url: str | None) -> str:
    try:
        return urljoin(base_url, address) if base_url else address
    except ValueError:  # brackets that are no IPv6 address; the download refuses it in words
        return address
