"""What becomes of a chunk's posts, gathered until it is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, NewVerdict
from tasks.intake.chunks import Entry, Retry
from tasks.moderate.verdict import Item
from tasks.watches.tries import Tries

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcomes:
    """What became of a chunk's posts.

    Attributes:
        is_revisit: whether these posts are looked at again: they have verdicts, and what fails now
            leaves them as they are.
        unchanged: how many had a verdict of these versions already, with the same content.
        repeated: how many had the content of another post that was judged before.
        judged: the posts of `verdicts`, in the same order.
        through_model: how many contents the model judged now.
        awaited: posts that go on waiting for pictures.
        revisits: posts without a picture that may come yet: it is looked for again.
    """

    tries: Tries
    is_revisit: bool = False
    verdicts: list[NewVerdict] = field(default_factory=list)
    evidence: list[NewEvidence] = field(default_factory=list)
    gone: list[GonePost] = field(default_factory=list)
    dead_letters: list[NewDeadLetter] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    unchanged: int = 0
    repeated: int = 0
    judged: list[Item] = field(default_factory=list)
    through_model: int = 0
    awaited: list[Item] = field(default_factory=list)
    revisits: list[Entry] = field(default_factory=list)

    def is_gone(self, post_id: str, why: str) -> None:
        """Note that the platform has no such post; a post that has a verdict keeps it."""
        if not self.is_revisit:
            self.gone.append(GonePost(post_id, why))

    def waits(self, item: Item, error: str, *, at_least_seconds: float | None = None) -> None:
        """Note that a post has to wait through no fault of its own: none of its tries is used.

        Args:
            error: for people.
            at_least_seconds: how long to wait, where somebody asked for that.
        """
        if self.is_revisit:
            self.revisits.append(item.entry)
            return
        delay = max(self.tries.delay_seconds(0), at_least_seconds or 0.0)
        self.retries.append(Retry(item.entry, delay, counts=False))
        log.info("post waits, untried", **item.said, error=error, delay_seconds=round(delay, 2))

    def failed(
        self,
        item: Item,
        stage: str,
        error: str,
        *,
        transient: bool = True,
        at_least_seconds: float | None = None,
    ) -> None:
        """Note that a post could not be judged: a retry, or a dead letter when it is over.

        Args:
            stage: in which it failed, such as "fetch".
            error: for people.
            transient: whether another try may end otherwise.
            at_least_seconds: before the next try, where somebody asked for that.
        """
        attempts = item.entry.attempts + 1
        if self.is_revisit:
            if transient:
                self.revisits.append(item.entry)
            log.info("post not looked at again", **item.said, stage=stage, error=error)
        elif transient and attempts < self.tries.max_attempts:
            delay = max(self.tries.delay_seconds(item.entry.attempts), at_least_seconds or 0.0)
            self.retries.append(Retry(item.entry, delay))
            log.info(
                "post is tried again later",
                **item.said,
                stage=stage,
                error=error,
                attempts=attempts,
                delay_seconds=round(delay, 2),
            )
        else:
            self.dead_letters.append(NewDeadLetter(item.post_id, stage, error, attempts))
            log.warning("dead letter", **item.said, stage=stage, error=error, attempts=attempts)
