"""What tests of recording share: a verdict, and all rows that there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from storage import tables
from storage.base.database import transaction
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict, Recorded

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLAG = NewFlag("review", 10, [{"rule": "sarcasm", "score": 0.97}], NOW + timedelta(hours=4))


def verdict_of(post_id: str = "p1", content: str = "a", **changes: Any) -> NewVerdict:
    made = NewVerdict(
        post_id=post_id,
        content_hash=content * 64,
        model_version="mini-1",
        calibration_version="cal-1",
        policy_version="policy-1",
        negative=0.1,
        neutral=0.2,
        positive=0.7,
        sarcasm=1 / 3,
        offensive=0.75,
        hateful=0.125,
        text_alone={"negative": 0.0, "neutral": 0.0, "positive": 1.0, "sarcasm": 0.25},
        degraded=[{"image": 1, "problem": "404"}],
        unread=[{"what": "text", "problem": "cut"}],
        language="tr",
        unlearnt=True,
        evidence=[{"kind": "text", "sha256": "e" * 64}],
        timings={"fetch": 0.5},
        author="ann",
        posted_at=NOW,
        explanation={"score": "sarcasm", "words": [{"word": "great", "effect": 0.25}]},
    )
    return replace(made, **changes)


def record_in(engine: Engine, *verdicts: NewVerdict, **others: Any) -> Recorded:
    with transaction(engine) as connection:
        return record(connection, verdicts=verdicts, **others)


#: What a chunk leaves where nobody wants to be told of it.
RECORDED = (
    tables.verdicts,
    tables.flags,
    tables.dead_letters,
    tables.gone_posts,
    tables.evidence,
)


def rows_of(engine: Engine) -> dict[str, list[Any]]:
    with transaction(engine, read_only=True) as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(table.select())]
            for table in RECORDED
        }
