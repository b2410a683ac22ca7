"""What of a post may have been overlooked: fields that nothing reads, beside empty ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deadpan.core.post_fields import MISSING
from deadpan.core.times import read_time
from sources.mapping import PostMapping, pick

_WORDS = re.compile(
    r"text|body|content|message|caption|title|description|summary|comment|note|html|headline",
    re.IGNORECASE,
)
_PICTURES = re.compile(
    r"image|img|picture|photo|media|attachment|thumb|avatar_url|banner|gallery|figure",
    re.IGNORECASE,
)
_TIMES = re.compile(r"time|date|created|posted|published|timestamp|_at$", re.IGNORECASE)
_AUTHORS = re.compile(r"(^|\.)(author|user|username|account|creator|owner|by)(\.|$)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?:)?/{1,2}\S+|\S+\.(?:jpe?g|png|gif|webp)(?:\?\S*)?", re.IGNORECASE)
_PICTURE_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp)(?:\?\S*)?", re.IGNORECASE)
_NAMES = re.compile(r"(?:.*\.)?(?:name|username|login|handle|screen_name|id)", re.IGNORECASE)
_MOST_LEAVES = 500
_DEPTH = 5


def overlooked(value: Any, mapping: PostMapping) -> list[str]:
    """Sentences on fields that Deadpan finds empty, where others look like what is missing.

    Args:
        value: a post as its source gave it.
        mapping: what is read of it.
    """
    used = {getattr(mapping, name) for name in mapping.__dataclass_fields__ if name != "named"}
    leaves = [
        (path, leaf)
        for path, leaf in _leaves(value)
        if not any(path == each or path.startswith(f"{each}.") for each in used)
    ]
    found = []
    for name, looks_right in (
        ("text", _is_text),
        ("images", _is_picture),
        ("author", _is_author),
        ("created_at", _is_time),
    ):
        path = getattr(mapping, name)
        here = pick(value, path)
        if here is not MISSING and here not in (None, "", [], {}, False):
            continue
        candidates = list(dict.fromkeys(p for p, leaf in leaves if looks_right(p, leaf)))
        if candidates:
            state = "missing" if here is MISSING else "empty"
            best = candidates[0]
            others = f", or {', '.join(candidates[1:4])}" if candidates[1:] else ""
            found.append(
                f"field '{path}' is {state}, and '{best}' looks like the {name} of a post: "
                f"DEADPAN_SOURCE_FIELDS={name}={best}{others}"
            )
    return found


def _leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Plain values with their paths, those of a list once."""
    if depth > _DEPTH:
        return
    if isinstance(value, Mapping):
        for name, member in list(value.items())[:_MOST_LEAVES]:
            if isinstance(name, str) and name and "." not in name:
                yield from _leaves(member, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list | tuple):
        for member in value[:3]:
            # of plain values the list itself is what a path names
            inner = path if not isinstance(member, Mapping | list) else f"{path}.*"
            yield from _leaves(member, inner, depth + 1)
    elif path:
        yield path, value


def _is_text(path: str, leaf: Any) -> bool:
    if not isinstance(leaf, str) or not leaf.strip() or _ADDRESS.fullmatch(leaf.strip()):
        return False
    words = len(leaf.split())
    return words >= 4 or (bool(_WORDS.search(path)) and words >= 1)


def _is_picture(path: str, leaf: Any) -> bool:
    if not isinstance(leaf, str):
        return False
    leaf = leaf.strip()
    if _PICTURE_FILE.fullmatch(leaf):
        return True
    return bool(_PICTURES.search(path) and _ADDRESS.fullmatch(leaf))


def _is_author(path: str, leaf: Any) -> bool:
    is_name = isinstance(leaf, str | int) and not isinstance(leaf, bool) and 0 < len(str(leaf)) < 80
    if not is_name or not _AUTHORS.search(path):
        return False
    return "." not in path or bool(_NAMES.fullmatch(path))


def _is_time(path: str, leaf: Any) -> bool:
    return bool(_TIMES.search(path)) and read_time(leaf) is not None
