"""A model that fails at every post: its worker ends, and no post pays for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging import queries
from tasks.intake.intake import Intake
from tasks.watches import model_breaks
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.embedded import free_port

pytestmark = pytest.mark.long

BREAKS = """
import os
from models.serving.classifier import Classifier

predict, lost = Classifier.predict, []

def broken(self, posts, *more):
    if os.path.exists(os.environ["BREAKS"]) and any("the post" in post.text for post in posts):
        lost.append("CUDA error: an illegal memory access was encountered")
    if lost:
        raise RuntimeError(lost[0])
    return predict(self, posts, *more)

Classifier.predict = broken
"""
"""The worst of devices: it does well by all that Deadpan tries by itself, is lost by whatever post
comes first, and stays so until the process ends."""


BROKEN = "deadpan_model_broken 1.0"


def asked(port: int) -> str:
    return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text


@pytest.mark.timeout(900)  # two workers start, one after the other
def test_a_broken_model_costs_no_post_a_try_and_the_next_healthy_worker_judges_all(
    tmp_path: Path,
    settings: dict[str, Any],
    sqlite: Engine,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "sitecustomize.py").write_text(BREAKS)
    path = os.pathsep.join([str(tmp_path / "plugin"), str(Path(__file__).parents[2])])
    broken = tmp_path / "broken"
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("BREAKS", str(broken))
    broken.touch()
    port = free_port()
    posts = {f"p{n}": {"text": f"the post number {n}"} for n in range(40)}
    with Platform(posts) as platform:
        settings |= {"source": platform.source, "max_attempts": 1, "chunk_size": 8}
        intake.enqueue(posts)
        with worker(tmp_path, "breaks", **settings) as child:
            wait_until(lambda: child.exit_code is not None, "its end", child)
            assert child.exit_code == 1
        told = model_breaks.last(intake)
        assert told is not None
        assert (told["worker"], "illegal memory" in told["why"]) == ("breaks@test", True)
        assert intake.status()["workers"] == []
        assert outcomes(sqlite, posts) == {}
        with transaction(sqlite, read_only=True) as connection:
            assert list(queries.dead_letters(connection, limit=100)) == []
        broken.unlink()
        with worker(tmp_path, "next", metrics_port=port, **settings) as child:
            wait_until(lambda: len(outcomes(sqlite, posts)) == len(posts), "all verdicts", child)
            wait_until(lambda: BROKEN in asked(port), "what became of the one before", child)
    assert set(outcomes(sqlite, posts).values()) == {"judged"}
    assert intake.client.hgetall("deadpan:attempts") == {}
    assert "the worker ends, to be started again" in (tmp_path / "breaks.log").read_text()
