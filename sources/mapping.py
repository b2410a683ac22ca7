"""From what a platform answers to posts: where each field is, and what it must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from deadpan.errors import SettingsError
from sources.post import Post

MAX_TEXT_CHARACTERS = 1024 * 1024
MAX_AUTHOR_CHARACTERS = 256
MAX_LANGUAGE_CHARACTERS = 35  # as RFC 5646 advises for what stores tags
# A post may list a million images; no more than this many are carried along to be refused.
MAX_LISTED_IMAGES = 100

MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class PostMapping:
    """Where the fields of a post are in an answer.

    Each is a dotted path: a name goes into an object, a number into a list, and `*` into every
    member of a list. `data.items` and `media.*.url` are examples.

    Attributes:
        posts: from the answer to the list of posts; empty where the answer is the list itself.
        id: from a post to its id. This and the following start at one post.
        text: to its text.
        images: to the list of its image URLs, or to the only one.
        author: to the author's name.
        created_at: to the time, in RFC 3339.
        language: to the language of its text, a tag such as `de` or `pt-BR`.
    """

    posts: str = "posts"
    id: str = "id"
    text: str = "text"
    images: str = "images"
    author: str = "author"
    created_at: str = "created_at"
    language: str = "language"

    @classmethod
    def parse(cls, fields: Iterable[str]) -> PostMapping:
        """Make a mapping of `field=path` each, such as `images=media.*.url`.

        Raises:
            SettingsError: a field is unknown or named twice, or its path is empty (only `posts`
                may have an empty one).
        """
        known = tuple(cls.__dataclass_fields__)
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
        return cls(**paths)


class WrongFieldError(ValueError):
    """A post's field is not what it should be; the text names the field."""


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
    found = pick(value, mapping.id)
    if isinstance(found, str) and found:
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return None


def posts_of(answer: Any, mapping: PostMapping) -> Iterator[Any] | None:
    """The posts of an answer, unchecked: a list's members or one object. None: it has neither."""
    found = pick(answer, mapping.posts)
    if isinstance(found, list):
        return iter(found)
    if isinstance(found, dict) and id_of(found, mapping) is not None:
        return iter((found,))
    if isinstance(answer, dict) and id_of(answer, mapping) is not None:
        return iter((answer,))
    return None


def post_of(value: Any, mapping: PostMapping, *, base_url: str | None = None) -> Post:
    """Make a post of one object.

    Args:
        value: an object whose id `id_of` has found.
        base_url: what relative image URLs are relative to.

    Raises:
        WrongFieldError: a field has the wrong type.
    """
    post_id = id_of(value, mapping)
    if post_id is None:
        raise WrongFieldError(f"field '{mapping.id}' is missing")
    return Post(
        id=post_id,
        text=_text(pick(value, mapping.text), mapping.text),
        images=_images(pick(value, mapping.images), mapping.images, base_url),
        author=_author(pick(value, mapping.author), mapping.author),
        created_at=_time(pick(value, mapping.created_at)),
        language=_language(pick(value, mapping.language)),
    )


def _text(value: Any, field: str) -> str:
    if value is MISSING:
        raise WrongFieldError(f"field '{field}' is missing")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongFieldError(f"field '{field}' is {_kind(value)}, not a string")
    return value[:MAX_TEXT_CHARACTERS]


def _images(value: Any, field: str, base_url: str | None) -> tuple[str, ...]:
    if value is MISSING or value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise WrongFieldError(f"field '{field}' is {_kind(value)}, not a list of URLs")
    images = []
    for member in value[:MAX_LISTED_IMAGES]:
        if not isinstance(member, str):
            raise WrongFieldError(f"field '{field}' holds {_kind(member)}, not only URLs")
        try:
            images.append(urljoin(base_url, member) if base_url else member)
        except ValueError:  # brackets that are no IPv6 address; the download refuses it in words
            images.append(member)
    return tuple(images)


def _author(value: Any, field: str) -> str | None:
    if value is MISSING or value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise WrongFieldError(f"field '{field}' is {_kind(value)}, not a string")
    return value[:MAX_AUTHOR_CHARACTERS]


def _language(value: Any) -> str | None:
    """As it is said; what is no text says nothing, and is no reason to lose a post."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LANGUAGE_CHARACTERS:
        return None
    return value


def _time(value: Any) -> datetime | None:
    """RFC 3339 text or a datetime, in UTC; one without a time zone is taken as UTC."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None


def _kind(value: Any) -> str:
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
