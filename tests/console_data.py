"""Flags and moderators as tests of the console need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from storage.base.database import transaction
from storage.base.text import primary_language
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.people import moderators
from storage.people.moderators import Moderator


def reason(rule: str, score: str, threshold: float, value: float) -> dict[str, Any]:
    """A rule that fired."""
    condition = {"score": score, "comparison": ">=", "threshold": threshold, "value": value}
    return {"rule": rule, "queue": rule, "priority": 1, "conditions": [condition]}


def verdict(
    post_id: str,
    *,
    content: str = "a",
    queue: str = "negative",
    priority: int = 30,
    reasons: Sequence[Mapping[str, Any]] | None = None,
    author: str | None = "ann",
    negative: float = 0.8,
    sarcasm: float = 0.2,
    flagged: bool = True,
    text: str | None = None,
    language: str | None = None,
    due_at: datetime | None = None,
    **more: Any,
) -> NewVerdict:
    """A verdict, flagged unless said otherwise."""
    why = reasons if reasons is not None else [reason("negative", "sentiment.negative", 0.6, 0.8)]
    return NewVerdict(
        post_id=post_id,
        content_hash=hashlib.sha256(content.encode()).hexdigest(),
        model_version="mini-1",
        calibration_version="c1",
        policy_version="p1",
        negative=negative,
        neutral=round(1 - negative, 6),
        positive=0.0,
        sarcasm=sarcasm,
        author=author,
        flag=NewFlag(queue, priority, why, due_at, text, language) if flagged else None,
        language=None if language is None else primary_language(language),
        **more,
    )


def flag(database: Engine, post_id: str, *, now: datetime | None = None, **more: Any) -> int:
    """Opens a flag and gives its id."""
    with transaction(database) as connection:
        recorded = record(connection, verdicts=[verdict(post_id, **more)], now=now)
    return {**recorded.opened_flag_ids, **recorded.updated_flag_ids}[post_id]


def moderator(connection: Connection, name: str, role: str = "moderator") -> Moderator:
    """Adds a moderator."""
    return moderators.add(connection, name, role, actor="test")
