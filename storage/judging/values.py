"""What became of a post, as `storage.judging.outcomes.record` takes it.

Values are checked where they are made, so that a wrong one fails its own post and not the whole
chunk: ValueError for a value that cannot be stored, TypeError for what should be JSON and is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from storage.base.text import check_traceparent, clean_json, clean_text, post_id_problem
from storage.tables import OF_WORDS, SCORES, VerdictFields

EVIDENCE_KINDS: Final = ("text", "original_text", "image")
EvidenceKind = Literal["text", "original_text", "image"]


@dataclass(frozen=True, slots=True)
class NewFlag:
    """A post that needs a human.

    Args:
        queue: at most 64 characters.
        priority: higher is served first.
        reasons: the rules that fired, as JSON objects.
        due_at: until when a human should have seen it; aware.
        text: what moderators find it by; any text.
        language: a tag such as `pt-BR`, where it is known.
        inclusion: of a look at a post that no rule flagged, the probability with which it was
            drawn; such a post is no flag to the platform.
        blind: whether moderators decide it without seeing why it is there.
        explain: the score of which is to be found out what moved it, if any.
    """

    queue: str
    priority: int
    reasons: Sequence[Mapping[str, Any]]
    due_at: datetime | None = None
    text: str | None = None
    language: str | None = None
    inclusion: float | None = None
    blind: bool = False
    explain: str | None = None

    def __post_init__(self) -> None:
        if self.inclusion is not None and not 0 < self.inclusion <= 1:
            raise ValueError(f"inclusion is {self.inclusion}; it must be above 0 and at most 1")
        _check_word("queue", self.queue, 64)
        if self.explain is not None:
            _check_word("explain", self.explain, 64)
        if not -(2**31) <= self.priority < 2**31:
            raise ValueError(f"priority is {self.priority}; it must fit into 32 bits")
        clean_json(self.reasons)
        _check_moment("due_at", self.due_at)


@dataclass(frozen=True, slots=True)
class NewVerdict(VerdictFields):
    """A prediction to be stored, with a flag if the policy gave reasons, or a look."""

    flag: NewFlag | None = None

    @property
    def is_flagged(self) -> bool:
        """Whether a rule flagged it: a look is none."""
        return self.flag is not None and self.flag.inclusion is None

    def __post_init__(self) -> None:
        _check_post_id(self.post_id)
        check_traceparent(self.traceparent)
        _check_sha256("content_hash", self.content_hash)
        # A version is part of the key: cutting it could make two versions one.
        for name in ("model_version", "calibration_version", "policy_version"):
            _check_word(name, getattr(self, name), 200)
        if self.language is not None and re.fullmatch("[a-z]{2,3}", self.language) is None:
            raise ValueError(
                f"language is {clean_text(self.language, 80)!r}; it must be two or three small "
                "letters, such as de"
            )
        _check_scores("", {name: getattr(self, name) for name in SCORES})
        for name in OF_WORDS:
            if (score := getattr(self, name)) is not None:
                _check_score(name, score)
        for name in ("text_alone", "image_alone"):
            scores = getattr(self, name)
            if scores is not None:
                _check_scores(f"{name}.", scores)
        for given in (self.degraded, self.unread, self.evidence, self.timings, self.explanation):
            clean_json(given)
        _check_moment("posted_at", self.posted_at)


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A post that could not be judged; any strings, stored in a printable form and cut to size."""

    post_id: str
    stage: str
    error: str
    attempts: int


@dataclass(frozen=True, slots=True)
class GonePost:
    """A post that its source no longer has, and how the source said so."""

    post_id: str
    why: str

    def __post_init__(self) -> None:
        _check_post_id(self.post_id)


@dataclass(frozen=True, slots=True)
class NewEvidence:
    """One thing the model saw, already in the evidence store; `size` is in bytes, and `frames` how
    many pictures the model was shown of what is on it, which may be several of an animation.
    """

    sha256: str
    kind: EvidenceKind
    media_type: str
    size: int
    frames: int = 1

    def __post_init__(self) -> None:
        _check_sha256("sha256", self.sha256)
        if self.kind not in EVIDENCE_KINDS:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {EVIDENCE_KINDS}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction stored that was not there before; ids by post id.

    Attributes:
        updated_flag_ids: of flags that already waited and now point to a new verdict.
        dead_letters, gone: how many were added or brought up to date.
    """

    verdict_ids: Mapping[str, int]
    opened_flag_ids: Mapping[str, int]
    updated_flag_ids: Mapping[str, int]
    dead_letters: int
    gone: int
    evidence: int


def _check_post_id(post_id: str) -> None:
    problem = post_id_problem(post_id)
    if problem is not None:
        raise ValueError(problem)


def _check_sha256(name: str, value: str) -> None:
    if re.fullmatch(r"[0-9a-f]{64}", value) is None:
        raise ValueError(f"{name} is {clean_text(value, 80)!r}; it must be 64 hexadecimal digits")


def _check_word(name: str, value: str, limit: int) -> None:
    if not 0 < len(value) <= limit or clean_text(value, limit) != value:
        raise ValueError(
            f"{name} is {clean_text(value, 80)!r}; it must have 1 to {limit} printable characters"
        )


def _check_scores(prefix: str, scores: Mapping[str, float]) -> None:
    if set(scores) != set(SCORES):
        raise ValueError(f"{prefix or 'scores '}has {sorted(scores)}; it must have {SCORES}")
    for name, value in scores.items():
        _check_score(f"{prefix}{name}", value)


def plain(score: float | None) -> float | None:
    """A score as a number of Python's own, which neither JSON nor a driver refuses."""
    return None if score is None else float(score)


def _check_score(name: str, value: float) -> None:
    # SQLite would silently turn a NaN into NULL.
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; a probability must be a finite number")


def _check_moment(name: str, value: datetime | None) -> None:
    if value is not None and value.utcoffset() is None:
        raise ValueError(
            f"{name} is {value.isoformat()} without a time zone; give an aware datetime"
        )
