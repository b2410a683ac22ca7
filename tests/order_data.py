"""Flags as tests of the learned order need them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from storage.flags.placing import Known

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def known(number: int, *, minutes: float | None = None, **more: Any) -> Known:
    """A flag, opened so many minutes after noon, else as many as its number says."""
    opened_at = NOON + timedelta(minutes=number if minutes is None else minutes)
    made = Known(
        id=number,
        post_id=f"post {number}",
        priority=30,
        opened_at=opened_at,
        closed_at=opened_at + timedelta(minutes=30),
        author=None,
        language="en",
        rules=("negative",),
        scores={"negative": 0.8, "neutral": 0.15, "positive": 0.05, "sarcasm": 0.2},
        text_alone={},
        image_alone={},
        pictures=0,
        incomplete=False,
        unlearnt=False,
        words="",
        removed=False,
    )
    return replace(made, **more)


def decided(number: int, *, seed: int = 0, told: float = 4.0) -> list[Known]:
    """Decided flags whose score of sarcasm tells which were removed: not at all with `told` of 0.

    A post that says "clown" is removed more often, too.
    """
    chance = np.random.default_rng(seed)
    found = []
    for n in range(number):
        sarcasm, clown = float(chance.random()), bool(chance.random() < 0.3)
        odds = told * (sarcasm - 0.6) + (told / 2 if clown else 0)
        found.append(
            known(
                n + 1,
                scores={"negative": 0.8, "neutral": 0.15, "positive": 0.05, "sarcasm": sarcasm},
                words="what a clown" if clown else "good morning",
                removed=bool(chance.random() < 1 / (1 + np.exp(-odds))),
            )
        )
    return found
