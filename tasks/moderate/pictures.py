"""How long posts whose pictures are on their way are waited for, in a slot and out of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tasks.moderate.stages import Awaited, Fetched

QUIET_SECONDS = 0.1
"""Pictures that come are waited for until none came for so long; for pictures of hosts that answer
well, longer where they take longer."""

SLOT_SECONDS = 2.0
"""The longest that a chunk waits for pictures in its slot."""

FULL_SECONDS = 10.0
"""The same where posts cannot be put aside: for pictures of hosts that answer well."""


def gathered(
    posts: Sequence[Awaited],
    hashes: dict[int, str],
    *,
    others: bool,
    may_put_aside: bool,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Fetched], list[Awaited]]:
    """Wait, in a slot, for the pictures of a chunk's posts.

    A host that answers well is waited for while its pictures come. Any other is not, where other
    posts of the chunk could be judged meanwhile.

    Args:
        hashes: see `Fetched.of`.
        others: whether posts of the chunk wait that have no pictures.
        may_put_aside: whether there is room for posts that have to wait longer; if not, they are
            given up.

    Returns:
        Those to be judged now, and those that go on waiting.
    """
    if not posts:
        return [], []
    came = threading.Event()
    posts[0].post.batch.tell(came.set)
    began_at = news_at = clock()
    left = sum(not each.post.is_complete() for each in posts)
    longest = SLOT_SECONDS if may_put_aside else FULL_SECONDS
    while waiting := [each.post for each in posts if not each.post.is_over()]:
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
    over, waiting_on = [], []
    for each in posts:
        if each.post.is_over() or not may_put_aside:
            over.append(each.fetched(hashes))
        else:
            waiting_on.append(each)
    return over, waiting_on
