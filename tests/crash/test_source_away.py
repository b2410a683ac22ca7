"""The source is away for longer than all tries of a post last: its posts wait, and are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging import queries
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(60)]
BACK_AFTER = 2
"""Requests that are answered 500 after the source was found to be down."""


def test_posts_wait_for_a_source_that_is_away_and_make_no_dead_letters(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    away = {"away": True}
    refused: list[list[str]] = []

    def meddle(ids: list[str]) -> tuple[int, dict[str, str], bytes] | None:
        if away["away"] or "never" in ids:
            refused.append(ids)
            return 500, {}, b"<html>out of order"
        return None

    # one slot, or others would still find out by themselves
    settings |= {"retry_base_seconds": 0.05, "max_attempts": 3, "slots": 1}
    with Platform({i: {"text": f"post {i}"} for i in IDS}, meddle=meddle) as platform:
        with worker(tmp_path, source=platform.source, **settings) as child:
            for post_id in IDS[:3]:  # fewer could be posts that it cannot answer
                intake.enqueue([post_id])
            wait_until(lambda: "source is down" in child.last_words(200), "its word", child)
            intake.enqueue(IDS[3:])
            before = len(refused)
            wait_until(lambda: len(refused) >= before + BACK_AFTER, "an outage", child)
            assert outcomes(sqlite, IDS) == {}
            assert intake.client.hgetall("deadpan:attempts") == {}, "no try was counted"
            assert all(len(ids) == 1 for ids in refused[before:]), "one post asks for all"
            away["away"] = False
            wait_until(lambda: len(outcomes(sqlite, IDS)) == len(IDS), "outcomes", child)
            # Beside posts that are answered, one that never is has only its tries.
            intake.enqueue(["never"])

            def ended() -> bool:
                if not any(intake.status()["intake"].values()):
                    intake.enqueue(IDS[:1])
                return outcomes(sqlite, ["never"]) != {}

            wait_until(ended, "its end", child)
            wait_until(lambda: not intake.status()["chunks"], "an end of the chunks", child)
    assert set(outcomes(sqlite, IDS).values()) == {"judged"}
    with transaction(sqlite, read_only=True) as connection:
        (letter,) = queries.dead_letters(connection, limit=9)
    assert (letter.post_id, letter.stage, letter.attempts) == ("never", "fetch", 3)
