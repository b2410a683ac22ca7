"""A short run of `make chaos`: workers, Valkey, PostgreSQL and the source fail; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import SHORT
from tests.chaos.run import run

pytestmark = pytest.mark.long


def test_every_post_has_one_outcome_after_workers_and_servers_were_killed(tmp_path: Path) -> None:
    result = run(SHORT, tmp_path)
    assert result.accepted == SHORT.posts
    assert {name: found for name, found in result.problems.items() if found} == {}
    assert sum(result.outcomes.values()) == SHORT.posts
    assert len(result.injected) == len(SHORT.faults())
