"""Two policies at once, and databases of another version: handled, or refused and said."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from storage.base.database import transaction
from storage.tables import flags, verdicts
from tasks.intake.intake import Intake
from tests.harness import wait_until, worker
from tests.platform import Platform

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(120)]


def test_two_workers_with_different_policies_judge_each_post_once_each_and_open_one_flag(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    other_policy = tmp_path / "other.toml"
    other_policy.write_text(
        Path(settings["policy"]).read_text(encoding="utf-8").replace("priority = 1", "priority = 2")
    )
    posts = {i: {"text": f"post {i}"} for i in IDS}
    with Platform(posts, delay_seconds=0.2) as platform:
        settings |= {"source": platform.source, "slots": 1}
        first = worker(tmp_path, "first", **settings)
        second = worker(tmp_path, "second", **{**settings, "policy": other_policy})

        def versions() -> int:
            with transaction(sqlite, read_only=True) as connection:
                distinct = select(func.count(verdicts.c.policy_version.distinct()))
                return connection.execute(distinct).scalar_one()

        def round_is_over() -> bool:
            told = intake.status()
            return not any([*told["intake"].values(), told["chunks"], told["retries"]])

        with first, second:
            wait_until(lambda: len(intake.status()["workers"]) == 2, "both", first, second)
            for _ in range(5):
                intake.enqueue(IDS)
                wait_until(round_is_over, "a round", first, second)
            assert versions() == 2, "both have judged"
    key = (verdicts.c.post_id, verdicts.c.policy_version)
    with transaction(sqlite, read_only=True) as connection:
        twice = select(*key).group_by(*key).having(func.count() > 1)
        assert connection.execute(twice).all() == []
        flagged = connection.execute(select(flags.c.post_id)).scalars().all()
    assert sorted(flagged) == sorted(IDS)


@pytest.mark.parametrize(
    ("revision", "words"), [("0001", "deadpan db migrate"), ("9999", "newer Deadpan")]
)
def test_a_worker_refuses_a_database_of_another_version_and_says_what_to_do(
    tmp_path: Path,
    settings: dict[str, Any],
    sqlite: Engine,
    intake: Intake,
    revision: str,
    words: str,
) -> None:
    with transaction(sqlite) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        connection.execute(text("UPDATE compatibility SET oldest_revision = '9999'"))
    intake.enqueue(IDS)
    (tmp_path / "posts.jsonl").write_text('{"id": "1", "text": "x"}\n')
    child = worker(tmp_path, source=f"file:{tmp_path / 'posts.jsonl'}", **settings)
    with child:
        wait_until(lambda: child.exit_code is not None, "its end", child)
    assert child.exit_code in (1, 2)
    assert words in child.last_words()
    assert intake.status()["intake"]["normal"] == len(IDS), "it has taken nothing"


def test_a_table_that_is_gone_under_a_running_worker_makes_posts_wait(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, intake: Intake
) -> None:
    with Platform({i: {"text": f"post {i}"} for i in IDS}) as platform:
        with worker(tmp_path, source=platform.source, **settings) as child:
            wait_until(lambda: bool(intake.status()["workers"]), "a worker", child)
            with transaction(sqlite) as connection:
                connection.execute(text("ALTER TABLE verdicts RENAME TO elsewhere"))
            intake.enqueue(IDS)
            wait_until(lambda: "deadpan db migrate" in child.last_words(50), "its word", child)
            with transaction(sqlite) as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO verdicts"))

            def judged() -> bool:
                with transaction(sqlite, read_only=True) as connection:
                    count = select(func.count()).select_from(verdicts)
                    return connection.execute(count).scalar_one() == len(IDS)

            wait_until(judged, "verdicts when it is back", child)
            os.kill(child.pid, signal.SIGTERM)
