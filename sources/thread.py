"""A post as its source has it now, and the posts before it in its thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sources.post import FetchFailure, Found, Gone, Post

MOST_BEFORE = 5


@dataclass(frozen=True, slots=True)
class Thread:
    """What a source says of a post and of those that it answers.

    Attributes:
        post: as it is now.
        before: those it answers, the oldest first. Only the first may be something else than a
            post: there the thread could not be read on.
        goes_on: whether it begins before these.
    """

    post: Found
    before: tuple[Found, ...] = ()
    goes_on: bool = False


def read_thread(
    find: Callable[[Sequence[str]], dict[str, Found]],
    post_id: str,
    parent: str | None,
    *,
    seconds: float,
    erased: Callable[[str], bool] = lambda _: False,
) -> Thread:
    """Ask a source for a post and up to `MOST_BEFORE` before it.

    Strangers wrote what answers what: a post may answer itself, or one that answers it. Each is
    asked for once.

    Args:
        find: of the source.
        parent: what the post answered when it was judged, for a post that is gone now says nothing.
        seconds: after which nothing more is asked for.
        erased: says which posts may not be asked for.
    """
    ends_at = time.monotonic() + seconds
    asked = [post_id] if parent in (None, post_id) else [post_id, str(parent)]
    asked = [each for each in asked if each == post_id or not erased(each)]
    found = find(asked)
    post = found[post_id]
    if isinstance(post, Post) and post.parent is not None:
        parent = post.parent
    before: list[Found] = []
    seen = {post_id}
    while parent is not None and parent not in seen and len(before) < MOST_BEFORE:
        seen.add(parent)
        if parent in found:
            each = found[parent]
        elif erased(parent):
            each = Gone(parent, "erased on request")
        elif time.monotonic() >= ends_at:
            each = FetchFailure(parent, "the post source answered too slowly", transient=True)
        else:
            each = find([parent])[parent]
        before.append(each)
        parent = each.parent if isinstance(each, Post) else None
    return Thread(post, tuple(reversed(before)), parent is not None and parent not in seen)
