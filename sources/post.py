"""A post, and what fetching its id can come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Post:
    """One item of the platform.

    Attributes:
        id: 1 to 256 bytes of UTF-8.
        text: as its author wrote it; may be empty.
        images: URLs in their order, or paths for a JSONL source.
        author: the platform's name for the author, if it tells.
        created_at: with a time zone, if the platform tells.
        language: as the platform says it, such as `de` or `pt-BR`.
        parent: id of the post that it answers.
        url: where people read it, of http or https.
        absent: fields that `DEADPAN_SOURCE_FIELDS` names a place for, and that are not there.
        unreadable: a sentence for each field that is left out because nobody can read it.
    """

    id: str
    text: str
    images: tuple[str, ...] = ()
    author: str | None = None
    created_at: datetime | None = None
    language: str | None = None
    parent: str | None = None
    url: str | None = None
    absent: tuple[str, ...] = field(default=(), compare=False)
    unreadable: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """One image of a post: its bytes, or why they are not there.

    Attributes:
        location: the URL or path that the post names.
        content: the undecoded file, or None.
        problem: why `content` is None, in words for a moderator; None when it is there.
        final_url: where redirects led to, of a download that went well.
        transient: whether the same image may arrive well when it is looked for again later.
    """

    location: str
    content: bytes | None = None
    problem: str | None = None
    transient: bool = False
    final_url: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FetchedPost:
    """A post with the bytes of its images, in the post's order."""

    post: Post
    images: tuple[FetchedImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """The platform no longer has the post: an outcome, not an error."""

    post_id: str
    why: str


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """The post could not be fetched this time (`transient`) or at all.

    Attributes:
        retry_after_seconds: what the source asked for (429 or 503 with Retry-After), if it did.
        outage: whether it may speak of the source rather than of this post: no answer, a status of
            5xx, 401 or 403, an answer that holds no posts.
        alone: whether this post alone was asked for in the request that failed; asked for with
            others, one of those may have spoilt the answer.
        untried: whether nothing was learnt of the post, so that this is none of its tries: the
            source asked to be left alone for a while.
    """

    post_id: str
    error: str
    transient: bool
    retry_after_seconds: float | None = None
    outage: bool = False
    alone: bool = False
    untried: bool = False


FetchResult = FetchedPost | Gone | FetchFailure
Found = Post | Gone | FetchFailure


def failures(
    post_ids: Sequence[str],
    error: str,
    *,
    transient: bool = True,
    retry_after_seconds: float | None = None,
    outage: bool = False,
    untried: bool = False,
) -> dict[str, Found]:
    """One failure for all posts of a request; see `FetchFailure`."""
    alone = len(post_ids) == 1
    return {
        post_id: FetchFailure(
            post_id, error, transient, retry_after_seconds, outage, alone, untried
        )
        for post_id in post_ids
    }
