"""Whether a post that an answer leaves out is gone.

A source may leave a post out for other reasons: it gives answers in pages, it reads only so many
ids of a list, or it names the post otherwise than it was asked for. So a post is gone only if an
answer that must have held it does not: one for this post alone, or one that holds nothing at all,
for so few ids that the source has just been seen to read as many. A page, however short, would hold
some of them. An answer that is odd is no proof, and the posts it leaves out are tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sources.answer import Answer, resemblance

log = logging.getLogger(__name__)

_PATIENCE = 50
"""After so many full answers of the most that a source gives, it is asked for twice as many."""


@dataclass(frozen=True, slots=True)
class Question:
    """Ids that are asked for together.

    Attributes:
        given_before: how many posts the answer gave that left all of these out; None for those
            that are asked for the first time.
    """

    ids: tuple[str, ...]
    given_before: int | None = None


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

    def __init__(self, ids_per_question: int, *, source: str, id_field: str = "id") -> None:
        self._lock = threading.Lock()
        self._most = self._at_most = ids_per_question
        self._source = source
        self._id_field = id_field
        self._reads = 0  # so many ids it has been seen to read
        self._full = 0
        self._told: int | None = None

    @property
    def at_most(self) -> int:
        """How many ids to ask for together."""
        return self._at_most

    def weigh(self, question: Question, answer: Answer) -> Weighed:
        """Sort the ids of one question by what its answer says of them."""
        ids, asked = question.ids, set(question.ids)
        weighed = Weighed()
        for post_id, value in answer.posts:
            if post_id in asked:
                weighed.found.setdefault(post_id, value)
        reads = max((at for at, each in enumerate(ids, 1) if each in weighed.found), default=0)
        self._learn(question, len(weighed.found), reads)
        left = tuple(each for each in ids if each not in weighed.found)
        if not left:
            return weighed
        if answer.not_found:
            weighed.gone = left if len(ids) == 1 else ()
            weighed.again = [] if len(ids) == 1 else _parts(left, 1, None)
            return weighed
        doubt = answer.doubt or self._oddity(answer, asked)
        if len(ids) == 1:
            if doubt is None:
                weighed.gone = left
            else:
                hint = resemblance(ids[0], answer.posts)
                weighed.odd[ids[0]] = f"{self._source} left it out, and {doubt}{hint}"
        elif weighed.found or question.given_before is None:
            size = min(self._at_most, reads or (0 if doubt else self._reads) or 1)
            weighed.again = _parts(left, size, len(weighed.found))
        elif doubt is None:
            weighed.gone = left
        else:
            weighed.again = _parts(left, 1, 0)
        return weighed

    def _oddity(self, answer: Answer, asked: set[str]) -> str | None:
        nameless = sum(post_id is None for post_id, _ in answer.posts)
        if nameless:
            return f"sent {nameless} posts without '{self._id_field}'"
        others = [post_id for post_id, _ in answer.posts if post_id not in asked]
        if others:
            return f"sent {len(others)} that nobody asked for, such as {ascii(others[0])[:60]}"
        return None

    def _learn(self, question: Question, found: int, reads: int) -> None:
        before, size = question.given_before, len(question.ids)
        with self._lock:
            if before is not None and found and (before <= 1 or found > 1):
                # The answer before left these out although they exist.
                self._at_most = min(self._at_most, before or size)
                self._reads, self._full = 0, 0
            self._reads = max(self._reads, reads)
            if found == size == self._at_most < self._most:
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


def _parts(ids: Sequence[str], size: int, given: int | None) -> list[Question]:
    return [Question(tuple(ids[at : at + size]), given) for at in range(0, len(ids), size)]
