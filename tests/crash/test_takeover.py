"""A challenger is tried beside the champion, takes over, and gives the place back; posts go on."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from models.checkpoint.checkpoint import read_info
from models.serving.preprocessing import READING_VERSION
from storage.base.database import transaction
from storage.tables import challenger_verdicts, dead_letters, flags, verdicts
from tasks.intake.intake import Intake
from tests.checkpoints import contrary
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.processes import ChildProcess

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(120)]


def test_a_challenger_is_tried_takes_over_and_gives_the_place_back(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    models = read_info("mini"), contrary(tmp_path / "contrary")
    old, new = (f"{each.version}+read{READING_VERSION}" for each in models)
    assert old != new
    # The challenger stays set throughout: DEADPAN_MODEL alone changes.
    settings |= {"challenger": tmp_path / "contrary", "challenger_share": 1.0, "slots": 1}

    def of(name: str, model: str | Path) -> ChildProcess:
        return worker(tmp_path, name, **settings, model=model)

    def is_ready(child: ChildProcess) -> None:
        listed = f"{child.name}@test"
        wait_until(
            lambda: any(each["name"] == listed for each in intake.status()["workers"]),
            f"{child.name} is ready",
            child,
        )

    def replaced(gone: ChildProcess, there: ChildProcess, ids: list[str]) -> None:
        """Posts come before, while and after one worker is replaced by the other."""
        intake.enqueue(ids[:20])
        is_ready(there)
        intake.enqueue(ids[20:30])
        os.kill(gone.pid, signal.SIGTERM)
        wait_until(lambda: gone.exit_code is not None, f"the end of {gone.name}", gone)
        intake.enqueue(ids[30:])

    def judged(count: int, *children: ChildProcess) -> None:
        wait_until(lambda: len(outcomes(sqlite, IDS)) == count, f"{count} outcomes", *children)

    def by_model(table: Any = verdicts) -> Counter[str]:
        with transaction(sqlite, read_only=True) as connection:
            return Counter(connection.execute(select(table.c.model_version)).scalars().all())

    with Platform({i: {"text": f"post {i}"} for i in IDS}, delay_seconds=0.02) as platform:
        settings |= {"source": platform.source}
        with of("before", "mini") as before:
            is_ready(before)
            wait_until(lambda: "challenger is warm" in before.last_words(99), "both", before)
            intake.enqueue(IDS[:40])
            judged(40, before)
            wait_until(lambda: by_model(challenger_verdicts)[new] == 40, "the same 40", before)
            assert by_model() == {old: 40}, "its verdicts are kept apart"
            with of("during", tmp_path / "contrary") as during:
                replaced(before, during, IDS[40:80])
                judged(80, during)
                taken_over = by_model()
                assert taken_over[new] >= 10
                assert "nothing to compare" in during.last_words(99)
                with of("after", "mini") as after:
                    replaced(during, after, IDS[80:])
                    judged(120, after)
                    assert by_model()[old] >= taken_over[old] + 10
                    assert by_model().total() == 120, "each post has one verdict"
                    # again: what the other model judged is judged by this one too, and no other
                    intake.enqueue(IDS)
                    wait_until(lambda: by_model()[old] == 120, "the rest", after)
                    wait_until(lambda: intake.status()["chunks"] == 0, "the end", after)
    key = (verdicts.c.post_id, verdicts.c.model_version)
    with transaction(sqlite, read_only=True) as connection:
        twice = select(*key).group_by(*key).having(func.count() > 1)
        assert connection.execute(twice).all() == []
        flagged = connection.execute(select(flags.c.post_id)).scalars().all()
        lost = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
    assert sorted(flagged) == sorted(IDS)
    assert lost == 0
