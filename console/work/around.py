"""What is around a post: its thread, its link, and what became of it since it was judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from console.web.state import Console, shown_text
from sources.post import FetchFailure, Found, Gone, Post
from storage.flags.worklist import Flag
from storage.judging import queries

Now = Literal["same", "changed", "gone", "unknown"]
_SHOWN_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Earlier:
    """A post before this one in its thread.

    Attributes:
        state: `there`, `gone` (deleted, or erased on request), or `unknown` (it could not be read).
    """

    post_id: str
    state: Literal["there", "gone", "unknown"]
    author: str | None = None
    text: str | None = None
    pictures: int = 0
    posted_at: datetime | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a post.

    Attributes:
        now: what has become of the post since it was judged; `unknown` where nobody could say.
        seen_at: when `now` was seen.
        text: of a changed post, as it reads now; None where only that it changed is known.
        pictures: how many it has now, where that changed.
        url: where people read it.
        parent: what it answers.
        before: the thread, the oldest first; empty where it was not asked for.
        goes_on: whether the thread begins before these.
    """

    now: Now
    seen_at: datetime | None
    url: str | None
    parent: str | None
    text: str | None = None
    pictures: int | None = None
    before: tuple[Earlier, ...] = ()
    goes_on: bool = False


def known(connection: Connection, flag: Flag) -> Around:
    """What is known without asking the platform."""
    later = queries.later(connection, flag.verdict)
    if later is None:
        return of_verdict(flag)
    return replace(of_verdict(flag), now=later[0], seen_at=later[1])


def of_verdict(flag: Flag) -> Around:
    """What the verdict itself says."""
    return Around("unknown", None, flag.verdict.url, flag.verdict.parent)


def blindly(found: Around) -> Around:
    """The thread alone: whether the post is still there, or behind its link, tells what was
    decided."""
    return replace(found, now="unknown", seen_at=None, url=None, text=None, pictures=None)


def asked(console: Console, flag: Flag, before: Around) -> Around:
    """What the platform says now; takes seconds at most.

    Args:
        before: what was known.
    """
    verdict = flag.verdict
    thread = console.thread(flag.post_id, verdict.parent)
    if thread is None:
        return before
    posts = tuple(_earlier(each) for each in thread.before)
    post, seen_at = thread.post, datetime.now(UTC)
    now: Now = before.now
    at, text, pictures = before.seen_at, None, None
    if isinstance(post, Gone):
        now, at = "gone", seen_at
    elif isinstance(post, Post):
        now, at = "same", seen_at
        kinds = [each["kind"] for each in verdict.evidence]
        # Of what is kept no longer, or was erased, nothing can be compared.
        if "original_text" in kinds:
            there = shown_text(post.text.encode("utf-8", "surrogatepass"))
            text = there if there != console.text(verdict.evidence, "original_text") else None
            had = kinds.count("image") + len(verdict.degraded)
            pictures = len(post.images) if len(post.images) != had else None
            now = "same" if text is None and pictures is None else "changed"
        elif before.now == "changed":
            now, at = before.now, before.seen_at
    return Around(
        now,
        at,
        (post.url if isinstance(post, Post) else None) or before.url,
        (post.parent if isinstance(post, Post) else None) or before.parent,
        None if text is None else _cut(text),
        pictures,
        posts,
        thread.goes_on,
    )


def _earlier(found: Found) -> Earlier:
    if isinstance(found, Gone):
        return Earlier(found.post_id, "gone")
    if isinstance(found, FetchFailure):
        return Earlier(found.post_id, "unknown")
    text = found.text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return Earlier(
        found.id,
        "there",
        found.author,
        _cut(text),
        len(found.images),
        found.created_at,
        found.url,
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"
