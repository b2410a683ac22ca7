"""What the platform is told of a new verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from storage.base.text import Json, clean_json
from storage.judging.outbox import NewEvent, event_key
from storage.judging.values import NewVerdict, plain
from storage.tables import OF_WORDS, SENTIMENTS

#: Which new verdicts the platform is told of.
Report = Literal["all", "flagged", "none"]


def is_reported(verdict: NewVerdict, report: Report) -> bool:
    """Whether the platform is told of this one."""
    return report == "all" or (report == "flagged" and verdict.is_flagged)


def verdict_created(
    verdict: NewVerdict, verdict_id: int, *, flag_id: int | None, created_at: datetime
) -> NewEvent:
    """The event `verdict.created`; `docs/callbacks.md` says what is in it.

    It holds nothing that the post's author wrote: no text, and neither words nor URLs of pictures.

    Args:
        flag_id: of the flag that this verdict opened or renewed.
        created_at: of the verdict; aware.
    """
    scores = {name: float(getattr(verdict, name)) for name in SENTIMENTS}
    data = {
        "post_id": verdict.post_id,
        "verdict_id": verdict_id,
        "label": max(scores, key=lambda label: scores[label]),
        "sentiment": scores,
        "sarcasm": float(verdict.sarcasm),
        **{name: plain(getattr(verdict, name)) for name in OF_WORDS},
        "text_alone": _alone(verdict.text_alone),
        "image_alone": _alone(verdict.image_alone),
        "degraded": _only(("image", "problem"), verdict.degraded),
        "unread": _only(("what", "index", "problem"), verdict.unread),
        "language": verdict.language,
        "unlearnt": verdict.unlearnt,
        "flag": _flag(verdict, flag_id),
        "versions": {
            name: getattr(verdict, f"{name}_version") for name in ("model", "calibration", "policy")
        },
        "content_hash": verdict.content_hash,
        "created_at": created_at.astimezone(UTC).isoformat(),
    }
    # `NewVerdict` checked its words and numbers; the rest is cleaned here.
    key = event_key("verdict", verdict_id, created_at)
    return NewEvent(
        "verdict.created",
        verdict.post_id,
        key,
        data,
        is_clean=True,
        traceparent=verdict.traceparent,
    )


def _alone(scores: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if scores is None else {name: float(value) for name, value in scores.items()}


def _only(names: Sequence[str], items: Sequence[Mapping[str, Any]]) -> Json:
    return clean_json([{name: each[name] for name in names if name in each} for each in items])


def _flag(verdict: NewVerdict, flag_id: int | None) -> dict[str, Any] | None:
    if verdict.flag is None or not verdict.is_flagged:
        return None
    return {
        "id": flag_id,
        "queue": verdict.flag.queue,
        "priority": verdict.flag.priority,
        "reasons": clean_json(verdict.flag.reasons),
    }
