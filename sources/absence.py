"""Whether a post that an answer leaves out is gone.

A source may leave a post out for other reasons: it gives answers in pages, it reads only so many
ids of a list, one id of them spoils the answer to all, or it names the post otherwise than it was
asked for. So a post is gone only if an answer that must have held it does not. That is one for this
post alone; or one for several, the last of them a post that is known to exist, if the answer holds
that one and no other, and the source has just been seen to give more at once. An answer that is odd
is no proof, and the posts it leaves out are tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deadpan.core.post_fields import WrongFieldError
from sources.answer import Answer, resemblance
from sources.post import FetchFailure, Found, Gone, Post

log = logging.getLogger(__name__)

_FRESH_SECONDS = 60.0
"""For so long what a source was seen to do is what it does."""

_PATIENCE = 50
"""After so many full answers of the most that a source gives, it is asked for twice as many."""


@dataclass(frozen=True, slots=True)
class Question:
    """Ids that are asked for together.

    Attributes:
        given_before: how many posts the answer gave that left all of these out; None for those
            that are asked for the first time.
        known: an id that is known to exist, and is asked for behind them.
    """

    ids: tuple[str, ...]
    given_before: int | None = None
    known: str | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """All ids to ask for."""
        return self.ids if self.known is None else (*self.ids, self.known)

    def halves(self) -> list[Question]:
        """The same in two questions, where an answer to all of them cannot be had."""
        middle = len(self.ids) // 2
        parts = self.ids[:middle], self.ids[middle:]
        return [Question(part, self.given_before) for part in parts]


Outcome = tuple[dict[str, Found], list[Question]]
"""What a question came to: results, and what has to be asked next."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A source was seen to read so many ids of a question; `known` is the last that it gave."""

    reads: int
    known: str
    at: float


@dataclass(slots=True)
class Weighed:
    """What an answer says of each id that was asked for; each is in one of these.

    Attributes:
        found: what holds the fields of each post that it gives.
        gone: those that do not exist.
        odd: those that it should have given or left out, and did neither in words that count;
            with the reason.
        again: what has to be asked next.
    """

    found: dict[str, Any] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    odd: dict[str, str] = field(default_factory=dict)
    again: list[Question] = field(default_factory=list)


class Absence:
    """Weighs the answers of one source, and learns how many ids it takes. Thread-safe.

    Args:
        ids_per_question: at most.
        source: what to call it, such as "the post source".
        id_field: where an id stands.
    """

    def __init__(
        self,
        ids_per_question: int,
        *,
        source: str,
        id_field: str = "id",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._most = self._at_most = ids_per_question
        self._source = source
        self._id_field = id_field
        self._shown: _Shown | None = None
        self._full = 0
        self._told: int | None = None

    @property
    def at_most(self) -> int:
        """How many ids to ask for together."""
        return self._at_most

    def outcome(
        self, question: Question, answer: Answer, read: Callable[[str, Any], Post]
    ) -> Outcome:
        """The posts of an answer, and what it says of the other ids that were asked for.

        Args:
            read: makes a post of what an answer gives for an id; may raise a WrongFieldError.
        """
        weighed = self.weigh(question, answer)
        found: dict[str, Found] = {}
        for post_id, value in weighed.found.items():
            try:
                found[post_id] = read(post_id, value)
            except WrongFieldError as error:
                message = f"{self._source} sent a post whose {error}"
                found[post_id] = FetchFailure(post_id, message, transient=False)
        for post_id in weighed.gone:
            found[post_id] = Gone(post_id, f"{self._source}, asked again, has no such post")
        for post_id, reason in weighed.odd.items():
            # Whether that is this post's fault or the source's shows when others are asked for.
            found[post_id] = FetchFailure(post_id, reason, True, outage=True, alone=True)
        return found, weighed.again

    def weigh(self, question: Question, answer: Answer) -> Weighed:
        """Sort the ids of one question by what its answer says of them."""
        ids, asked = question.ids, set(question.asked)
        weighed = Weighed()
        for post_id, value in answer.posts:
            if post_id in asked:
                weighed.found.setdefault(post_id, value)
        shown = self._learn(question, weighed.found)
        is_known_there = weighed.found.pop(question.known or "", None) is not None
        left = tuple(each for each in ids if each not in weighed.found)
        if not left:
            return weighed
        if answer.not_found:
            weighed.gone = left if len(question.asked) == 1 else ()
            weighed.again = [] if weighed.gone else [Question((each,)) for each in left]
            return weighed
        doubt = answer.doubt or self._oddity(answer, asked)
        if len(question.asked) == 1:
            if doubt is None:
                weighed.gone = left
            else:
                hint = resemblance(ids[0], answer.posts)
                weighed.odd[ids[0]] = f"{self._source} left it out, and {doubt}{hint}"
        elif weighed.found or question.given_before is None:
            weighed.again = self._parts(left, len(weighed.found), shown)
        elif is_known_there and doubt is None and shown is not None:
            weighed.gone = left
        else:
            weighed.again = [Question((each,), 0) for each in left]
        return weighed

    def _parts(self, left: tuple[str, ...], given: int, shown: _Shown | None) -> list[Question]:
        """Questions for ids that were left out, each of which proves something or finds some."""
        size = min(self._at_most, shown.reads) - 1 if shown is not None else 1
        if shown is None or size < 2 or shown.known in left:
            return [Question((each,), given) for each in left]
        parts = [left[at : at + size] for at in range(0, len(left), size)]
        return [Question(part, given, shown.known if len(part) > 1 else None) for part in parts]

    def _oddity(self, answer: Answer, asked: set[str]) -> str | None:
        nameless = sum(post_id is None for post_id, _ in answer.posts)
        if nameless:
            return f"sent {nameless} posts without '{self._id_field}'"
        others = [post_id for post_id, _ in answer.posts if post_id not in asked]
        if others:
            return f"sent {len(others)} that were not asked for, such as {ascii(others[0])[:60]}"
        return None

    def _learn(self, question: Question, found: Mapping[str, Any]) -> _Shown | None:
        """Take note of what an answer shows; what is known then, if it is fresh."""
        asked = question.asked
        there = [at for at, each in enumerate(asked, 1) if each in found]
        new = sum(each in found for each in question.ids)
        before, now = question.given_before, self._clock()
        with self._lock:
            if before is not None and new and (before <= 1 or new > 1):
                # The answer before left these out although they exist.
                self._at_most = min(self._at_most, before or len(asked))
                self._shown, self._full = None, 0
            shown = self._shown
            if shown is not None and now - shown.at > _FRESH_SECONDS:
                shown = None
            if len(there) > 1:  # of one alone nobody knows whether it would give more
                reads = max(there[-1], shown.reads if shown is not None else 0)
                shown = self._shown = _Shown(reads, asked[there[-1] - 1], now)
            if new == len(asked) == self._at_most < self._most:
                self._full += 1
                if self._full >= _PATIENCE:
                    self._at_most = min(self._most, 2 * self._at_most)
                    self._full = 0
            learnt = self._at_most
            is_new = learnt < self._most and learnt < (self._told or self._most)
            if is_new:
                self._told = learnt
        if is_new:
            log.warning(
                "%s gives at most %d posts an answer; it is asked for no more at once",
                self._source,
                learnt,
            )
        return shown
