"""The content of posts: its hash, who shares it, what a model prepares, and what cannot be seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from models.posts.prediction import ImageProblem, PreparedPost
from sources.post import FetchedImage, FetchedPost
from tasks.moderate.verdict import Item


def content_hash(text: str, image_hashes: Iterable[str]) -> str:
    """SHA-256 in hexadecimal of a post's words and pictures: the same content, the same verdict."""
    content = json.dumps([text, *image_hashes])  # ASCII, so that lone surrogates do no harm
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def hashed(items: Sequence[Item]) -> Sequence[Item]:
    """The same items, with their content hash: of words and undecoded files.

    Args:
        items: posts that were fetched.
    """
    hashes: dict[int, str] = {}  # an image that several posts name was downloaded once
    for item in items:
        assert item.fetched is not None
        names = []
        for image in item.fetched.images:
            if image.content is None:
                names.append("not there")
                continue
            key = id(image.content)
            if key not in hashes:
                hashes[key] = hashlib.sha256(image.content).hexdigest()
            names.append(hashes[key])
        item.content_hash = content_hash(item.fetched.post.text, names)
    return items


def grouped(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Posts by content hash."""
    same: dict[str, list[Item]] = {}
    for item in items:
        same.setdefault(item.content_hash, []).append(item)
    return same


def unprepared(item: Item) -> tuple[str, list[bytes | ImageProblem]]:
    """A fetched post's words and files, or why one is not there: what a model prepares."""
    assert item.fetched is not None
    return item.fetched.post.text, [_content_or_problem(image) for image in item.fetched.images]


def undecoded(fetched: FetchedPost, prepared: PreparedPost) -> tuple[str | None, ...]:
    """Of each image, why bytes that are there could not be decoded, or None.

    This is of the content, and lasts: `models.serving.known_posts.KnownPost` keeps it.
    """
    return tuple(
        result.problem if image.content is not None and isinstance(result, ImageProblem) else None
        for image, result in zip(fetched.images, prepared.images, strict=True)
    )


def degraded(item: Item, problems: Sequence[str | None]) -> list[dict[str, object]]:
    """The images that could not be seen, and why, as a verdict has them.

    Args:
        item: a post that was fetched.
        problems: of each of its images; see `undecoded`.
    """
    assert item.fetched is not None
    found: list[dict[str, object]] = []
    for index, (image, problem) in enumerate(zip(item.fetched.images, problems, strict=True)):
        if image.content is None:
            problem = image.problem or "it could not be fetched"
        if problem is not None:
            found.append({"image": index, "location": image.location, "problem": problem})
    return found


def _content_or_problem(image: FetchedImage) -> bytes | ImageProblem:
    if image.content is None:
        return ImageProblem(image.problem or "it could not be fetched")
    return image.content
