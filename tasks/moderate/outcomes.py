"""What becomes of a chunk's posts, gathered until it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from sources.post import FetchFailure
from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, NewVerdict
from tasks.intake.chunks import Entry, Retry
from tasks.moderate.stages import Asked, Awaited, Fetched
from tasks.watches.tries import Tries

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcomes:
    """What became of a chunk's posts.

    Attributes:
        is_revisit: whether these posts are looked at again: they have verdicts, and what fails now
            leaves them as they are.
        judged: the posts of `verdicts`, in the same order.
        unchanged: how many had a verdict of these versions already, with the same content.
        repeated: how many had the content of another post that was judged before.
        through_model: how many contents the model judged now.
        awaited: posts that go on waiting for pictures.
        revisits: posts without a picture that may come yet: it is looked for again.
    """

    tries: Tries
    is_revisit: bool = False
    judged: list[Fetched] = field(default_factory=list)
    verdicts: list[NewVerdict] = field(default_factory=list)
    evidence: list[NewEvidence] = field(default_factory=list)
    gone: list[GonePost] = field(default_factory=list)
    dead_letters: list[NewDeadLetter] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    unchanged: int = 0
    repeated: int = 0
    through_model: int = 0
    awaited: list[Awaited] = field(default_factory=list)
    revisits: list[Entry] = field(default_factory=list)

    def is_judged(
        self, post: Fetched, verdict: NewVerdict, evidence: Sequence[NewEvidence]
    ) -> None:
        """Note a new verdict."""
        self.judged.append(post)
        self.verdicts.append(verdict)
        self.evidence += evidence
        self._revisit(post)

    def is_unchanged(self, post: Fetched) -> None:
        """Note that a post has its verdict already."""
        self.unchanged += 1
        self._revisit(post)

    def is_gone(self, post_id: str, why: str) -> None:
        """Note that the platform has no such post; a post that has a verdict keeps it."""
        if not self.is_revisit:
            self.gone.append(GonePost(post_id, why))

    def not_fetched(self, asked: Asked, failure: FetchFailure) -> None:
        """Note that a post did not come; it uses up a try only where it was asked for."""
        if failure.untried:
            self._waits(asked, failure.error, failure.retry_after_seconds)
        else:
            self.failed(
                asked,
                "fetch",
                failure.error,
                transient=failure.transient,
                at_least_seconds=failure.retry_after_seconds,
            )

    def failed(
        self,
        asked: Asked,
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
        attempts = asked.entry.attempts + 1
        if self.is_revisit:
            if transient:
                self.revisits.append(asked.entry)
            log.info("post not revisited", **asked.log_fields, stage=stage, error=error)
        elif transient and attempts < self.tries.max_attempts:
            delay = max(self.tries.delay_seconds(asked.entry.attempts), at_least_seconds or 0.0)
            self.retries.append(Retry(asked.entry, delay))
            log.info(
                "post is tried again later",
                **asked.log_fields,
                stage=stage,
                error=error,
                attempts=attempts,
                delay_seconds=round(delay, 2),
            )
        else:
            self.is_dead(NewDeadLetter(asked.post_id, stage, error, attempts), asked.entry)

    def is_dead(self, letter: NewDeadLetter, entry: Entry) -> None:
        """Note that a post is given up."""
        self.dead_letters.append(letter)
        log.warning(
            "dead letter",
            post_id=letter.post_id,
            trace_id=entry.trace.trace_id,
            stage=letter.stage,
            error=letter.error,
            attempts=letter.attempts,
        )

    def _waits(self, asked: Asked, error: str, at_least_seconds: float | None) -> None:
        """Note that a post has to wait through no fault of its own: none of its tries is used."""
        if self.is_revisit:
            self.revisits.append(asked.entry)
            return
        delay = max(self.tries.delay_seconds(0), at_least_seconds or 0.0)
        self.retries.append(Retry(asked.entry, delay, counts=False))
        log.info(
            "post waits without using up a try",
            **asked.log_fields,
            error=error,
            delay_seconds=round(delay, 2),
        )

    def _revisit(self, post: Fetched) -> None:
        """Where a picture may come yet, the post is judged without it, and once more with it."""
        if post.may_get_pictures:
            self.revisits.append(post.asked.entry)
