"""Values are checked where they are made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from storage.judging.values import GonePost, NewEvidence, NewFlag, NewVerdict

GOOD: dict[str, Any] = {
    "post_id": "p",
    "content_hash": "0" * 64,
    "model_version": "m",
    "calibration_version": "c",
    "policy_version": "p",
    "negative": 0.1,
    "neutral": 0.2,
    "positive": 0.7,
    "sarcasm": 0.5,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"post_id": ""}, "post id is empty"),
        ({"content_hash": "0" * 63}, "content_hash is .* 64 hexadecimal digits"),
        ({"model_version": ""}, "model_version"),
        ({"policy_version": "x" * 201}, "policy_version"),
        ({"sarcasm": float("nan")}, "sarcasm is nan"),
        ({"offensive": float("nan")}, "offensive is nan"),
        ({"hateful": float("inf")}, "hateful is inf"),
        ({"text_alone": {"negative": 1.0}}, "text_alone"),
        ({"posted_at": datetime(2026, 1, 1)}, "posted_at .* without a time zone"),  # noqa: DTZ001
    ],
)
def test_a_verdict_that_cannot_be_written_is_refused(change: dict[str, Any], said: str) -> None:
    NewVerdict(**GOOD)
    with pytest.raises(ValueError, match=said):
        NewVerdict(**(GOOD | change))


def test_other_values_are_refused_too() -> None:
    with pytest.raises(ValueError, match="queue"):
        NewFlag(queue="", priority=1, reasons=[])
    with pytest.raises(ValueError, match="32 bits"):
        NewFlag(queue="q", priority=2**31, reasons=[])
    with pytest.raises(TypeError, match="bytes cannot be stored as JSON"):
        NewFlag(queue="q", priority=1, reasons=[{"rule": b"x"}])
    with pytest.raises(TypeError, match="set cannot be stored as JSON"):
        NewVerdict(**(GOOD | {"degraded": [{"image": {1}}]}))
    with pytest.raises(TypeError, match="object cannot be stored as JSON"):
        NewVerdict(**(GOOD | {"explanation": {"words": object()}}))
    with pytest.raises(ValueError, match="NUL"):
        GonePost("\x00", "404")
    with pytest.raises(ValueError, match="sha256"):
        NewEvidence("../../etc/passwd", "text", "text/plain", 1)
    with pytest.raises(ValueError, match="kind"):
        NewEvidence("0" * 64, "sound", "audio/ogg", 1)  # type: ignore[arg-type]
