"""SIGKILL while posts wait for pictures of hosts that hang: every post is judged, once."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from storage.base.database import transaction
from storage.tables import dead_letters, flags, outbox, verdicts
from tasks.intake.intake import Intake
from tests.crash.conftest import Settings
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from tests.receiver import SECRET

pytestmark = pytest.mark.long


class Hanging(Platform):
    """Every second post has pictures on a host that accepts and never answers."""

    hangs = ""

    def _absolute(self, post: object) -> dict[str, object]:
        assert isinstance(post, dict)
        if not post["text"].startswith("look"):
            return {**post, "images": []}
        return {**post, "images": [f"{self.hangs}/{post['text']}/{k}.jpg" for k in range(3)]}


def test_posts_that_waited_for_pictures_when_their_worker_was_killed_are_judged_once(
    tmp_path: Path, intake: Intake, sqlite: Engine, settings: Settings
) -> None:
    posts = {f"slow{n}": {"text": f"look {n}"} for n in range(20)}
    posts |= {f"words{n}": {"text": f"a fine day {n}"} for n in range(20)}
    slow, words = [k for k in posts if k[0] == "s"], [k for k in posts if k[0] == "w"]
    with socket.socket() as deaf, Hanging(posts) as platform:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(512)
        platform.hangs = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        settings |= {
            "source": platform.source,
            "allow_private_addresses": "127.0.0.0/8",
            "lease_seconds": 3,
            "callback_url": "https://platform.example/callbacks",
            "callback_secret": SECRET,
        }
        first = worker(tmp_path, "first", **settings)
        with first:
            intake.enqueue([each for pair in zip(slow, words, strict=True) for each in pair])
            # One of those beside them is done, and they still wait.
            wait_until(lambda: bool(outcomes(sqlite, words)), "a post with words alone", first)
            os.kill(first.pid, signal.SIGKILL)
            wait_until(lambda: first.exit_code is not None, "its death", first)
        assert intake.status()["chunks"] > 0, "posts waited for pictures"
        second = worker(tmp_path, "second", **settings)
        with second:
            wait_until(
                lambda: len(outcomes(sqlite, posts)) == 40 and not intake.status()["chunks"],
                "40 outcomes",
                second,
            )
    with transaction(sqlite) as connection:
        judged = connection.execute(select(verdicts.c.post_id)).scalars().all()
        told = connection.execute(select(outbox.c.post_id)).scalars().all()
        flagged = connection.execute(select(func.count()).select_from(flags)).scalar_one()
        letters = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
    assert sorted(judged) == sorted(posts)
    assert sorted(told) == sorted(posts)
    assert (flagged, letters) == (40, 0)
    assert intake.status()["retries"] == 0
    assert intake.revisits() == 20
