"""How long posts whose pictures are on their way are waited for, in a slot and out of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tasks.moderate.verdict import Item

QUIET_SECONDS = 0.1
"""Pictures that come are waited for until none came for so long; for pictures of hosts that answer
well, longer where they take longer."""

SLOT_SECONDS = 2.0
"""The longest that a chunk waits for pictures in its slot."""

FULL_SECONDS = 10.0
"""The same where posts cannot be put aside: for pictures of hosts that answer well."""


def gathered(
    items: Sequence[Item],
    *,
    others: bool,
    may_put_aside: bool,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Item], list[Item]]:
    """Wait, in a slot, for the pictures of a chunk's posts.

    A host that answers well is waited for while its pictures come. Any other is not, where other
    posts of the chunk could be judged meanwhile.

    Args:
        items: posts that were begun to be fetched.
        others: whether posts of the chunk wait that have no pictures.
        may_put_aside: whether there is room for posts that have to wait longer; if not, they are
            given up.

    Returns:
        Those to be judged now, which have `fetched`, and those that go on waiting.
    """
    if not items:
        return [], []
    awaited = {id(item): item.awaited for item in items if item.awaited is not None}
    came = threading.Event()
    posts = list(awaited.values())
    posts[0].batch.tell(came.set)
    began_at = news_at = clock()
    left = sum(not post.is_complete() for post in posts)
    longest = SLOT_SECONDS if may_put_aside else FULL_SECONDS
    while waiting := [post for post in posts if not post.is_over()]:
        now = clock()
        if len(waiting) < left:
            left, news_at = len(waiting), now
        some = others or len(waiting) < len(posts)
        patience = QUIET_SECONDS
        if any(post.is_promising() for post in waiting):
            patience = max(QUIET_SECONDS, (news_at - began_at) / 2) if may_put_aside else longest
        elif some and news_at == began_at:
            patience = 0.0  # nothing has come, and others could be judged
        until = min(news_at + patience, began_at + longest)
        if now >= until:
            break
        came.wait(until - now)
        came.clear()
    over = [item for item in items if awaited[id(item)].is_over() or not may_put_aside]
    for item in over:
        assert item.awaited is not None
        item.fetched = item.awaited.fetched()
    return over, [item for item in items if item.fetched is None]
