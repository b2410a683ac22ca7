"""What every request of the console needs, made once at the start."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import structlog
from fastapi import Request
from sqlalchemy import Engine

from deadpan.core.errors import EvidenceUnavailable, QueueStateError, QueueUnavailable
from sources.post import FetchFailure
from sources.source import PicturedSource
from sources.thread import Thread, read_thread
from storage.base.database import transaction
from storage.flags import claims, known_values, worklist
from storage.flags.known_values import KnownValues
from storage.flags.sampling import Sampling
from storage.judging.evidence import EvidenceStore
from storage.keeping import erasure
from storage.people import audit
from storage.people.moderators import Moderator
from storage.people.sessions import Session
from storage.people.tokens import ApiToken
from storage.reports import promises
from tasks.intake.intake import Intake
from tasks.policy.reason_codes import ReasonCodes, read_reason_codes

log = structlog.get_logger(__name__)

SOURCE_REQUESTS = 4
"""So many threads at once may wait for the post source: a slow one takes no page its own."""
SOURCE_SECONDS = 2.0
"""For one answer of the post source: a moderator waits for it."""
_THREAD_SECONDS = 4.0
_COUNTS_SECONDS = 2.0
_KNOWN_SECONDS = 60.0
_OVERDUE_SECONDS = 10.0
_REDIS_AWAY_SECONDS = 60.0
_TEXTS_KEPT = 4096
_MAX_TEXT_BYTES = 64 * 1024


@dataclass(slots=True)
class Console:
    """The services behind the pages, and how they are set.

    Args:
        secret_key: signs what people who are not signed in carry.
        claim_seconds: how long a moderator holds a flag without doing anything.
        reasons: what moderators choose a reason from; those of the policy that ships if left out.
        report_decisions: whether the platform is told of them by callbacks.
        second_review_share: the share of decisions that somebody else looks at too.
        known_answer_share: how often a known answer is mixed in, from 0 to 1.
        url: where browsers reach the console; empty takes what each request says.
        passwords: whether people may sign in with them.
        source: where a post is looked at again when somebody opens its flag; None asks nobody.
    """

    database: Engine
    intake: Intake
    evidence: EvidenceStore
    secret_key: str
    claim_seconds: float = 300.0
    reasons: ReasonCodes = field(default_factory=read_reason_codes)
    report_decisions: bool = False
    second_review_share: float = 0.0
    known_answer_share: float = 0.0
    url: str = ""
    passwords: bool = True
    source: PicturedSource | None = None
    _asking: threading.Semaphore = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _changes: int = 0
    _counted: tuple[float, int, Mapping[str, Mapping[str, int]]] | None = None
    _judging: tuple[float, bool] | None = None
    _overdue: tuple[float, Mapping[str, int]] | None = None
    _known: tuple[float, KnownValues] | None = None
    _text_of: Any = None
    second_looks: Sampling = field(init=False)

    def __post_init__(self) -> None:
        self._asking = threading.BoundedSemaphore(SOURCE_REQUESTS)
        self.second_looks = Sampling(self.second_review_share, self.secret_key)
        self._text_of = lru_cache(_TEXTS_KEPT)(self._read_text)

    def waiting(self, *, exact: bool = False) -> Mapping[str, Mapping[str, int]]:
        """What waits, by queue and state; at most two seconds old.

        Args:
            exact: nor older than what was last changed here, so that whoever comes back to the
                list from a decision or an undo sees what became of it.

        Counting ends claims that are over on the way, for somebody must, even when nobody asks for
        the next flag.
        """
        with self._lock:
            changes = self._changes
            if self._counted is not None:
                at, changes_then, counted = self._counted
                is_new = time.monotonic() - at < _COUNTS_SECONDS
                if is_new and (changes_then == changes or not exact):
                    return counted
            with transaction(self.database, read_only=True) as connection:
                is_over = claims.any_expired(connection)
            if is_over:
                with transaction(self.database) as connection:
                    claims.expire(connection)
            with transaction(self.database, read_only=True) as connection:
                counted = worklist.waiting(connection)
            self._counted = (time.monotonic(), changes, counted)
            return counted

    def overdue(self) -> Mapping[str, int]:
        """Flags past the time that was promised, by queue; at most ten seconds old."""
        if self._overdue and time.monotonic() - self._overdue[0] < _OVERDUE_SECONDS:
            return self._overdue[1]
        with transaction(self.database, read_only=True) as connection:
            found = promises.overdue(connection, now=datetime.now(UTC))
        self._overdue = (time.monotonic(), found)
        return found

    def changed(self) -> None:
        """Say that something was written, so that exact counts are made anew."""
        self._changes += 1

    def known(self) -> KnownValues:
        """The rules and languages that flags have; at most a minute old."""
        if self._known and time.monotonic() - self._known[0] < _KNOWN_SECONDS:
            return self._known[1]
        with transaction(self.database, read_only=True) as connection:
            found = known_values.read(connection)
        self._known = (time.monotonic(), found)
        return found

    def judging(self) -> bool:
        """Whether posts wait for a worker or are in its hands; at most two seconds old.

        False where Redis does not say: what moderators do needs none.
        """
        if self._judging and time.monotonic() < self._judging[0]:
            return self._judging[1]
        try:
            said = self.intake.status()
        except (QueueUnavailable, QueueStateError):
            # Asking may have taken seconds; not every page is to wait for that.
            self._judging = (time.monotonic() + _REDIS_AWAY_SECONDS, False)
            return False
        is_judging = bool(sum(said["intake"].values()) or said["chunks"] or said["retries"])
        self._judging = (time.monotonic() + _COUNTS_SECONDS, is_judging)
        return is_judging

    def thread(self, post_id: str, parent: str | None) -> Thread | None:
        """What the platform says now of a post and those before it, in a few seconds; None where
        nobody is to be asked: without a source, or for a post that was erased.
        """
        if self.source is None or self._is_erased(post_id):
            return None
        if not self._asking.acquire(timeout=SOURCE_SECONDS):
            busy = "many ask the post source at once; try again in a moment"
            return Thread(FetchFailure(post_id, busy, transient=True))
        try:
            return read_thread(
                self.source.find, post_id, parent, seconds=_THREAD_SECONDS, erased=self._is_erased
            )
        finally:
            self._asking.release()

    def _is_erased(self, post_id: str) -> bool:
        with transaction(self.database, read_only=True) as connection:
            return bool(erasure.erased(connection, [post_id]))

    def text(self, evidence: Any, kind: str) -> str:
        """A text of a verdict's evidence; words about what is the matter where there is none."""
        for item in evidence:
            if item["kind"] == kind:
                try:
                    return cast(str, self._text_of(item["sha256"]))
                except EvidenceUnavailable as error:
                    # Where things are kept is for who runs it, and no word of the post.
                    log.warning("the words of a post cannot be read", error=str(error))
                    return "(text unavailable)"
        return ""

    def forget_texts(self) -> None:
        """Forget texts that are kept in memory."""
        self._text_of.cache_clear()

    def _read_text(self, sha256: str) -> str:
        return shown_text(self.evidence.get(sha256))


def shown_text(content: bytes) -> str:
    """A post's text as pages have it, of the bytes that evidence keeps."""
    text = content[:_MAX_TEXT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text + (" …" if len(content) > _MAX_TEXT_BYTES else "")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever sent a request and may do what it asks for."""

    moderator: Moderator
    session: Session | None = None
    token: ApiToken | None = None
    csrf: str = ""


def console_of(request: Request) -> Console:
    """The services of this application."""
    return cast(Console, request.app.state.console)


def visitor_of(request: Request) -> Visitor:
    """Who is signed in, on a route that asks for it."""
    visitor = request.state.visitor
    assert isinstance(visitor, Visitor)
    return visitor


def audited(
    request: Request,
    action: str,
    subject: str,
    after: Mapping[str, Any] | None = None,
    *,
    actor: str | None = None,
) -> None:
    """Write into the audit log what happened, and from where.

    Args:
        actor: who did it; whoever is signed in if left out.
    """
    with transaction(console_of(request).database) as connection:
        audit.write(
            connection,
            actor or visitor_of(request).moderator.name,
            action,
            subject,
            after=after,
            address=address_of(request),
        )


def address_of(request: Request) -> str | None:
    """Where the request came from."""
    return request.client.host if request.client else None
