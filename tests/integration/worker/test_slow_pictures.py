"""A worker, a host that hangs, and a host that is in trouble for a while."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.tables import dead_letters, flags, outbox, verdicts
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until
from tests.integration.intake.test_revisits import all_are_due
from tests.integration.worker.test_worker import jpeg, running
from tests.platform import Answer, Platform
from worker.local.embedded import EmbeddedValkey

POLICY = '[[rules]]\nname = "unseen"\nwhen = "degraded >= 1.0"\nqueue = "degraded"\npriority = 1\n'


class Trouble(Platform):
    """A platform that does not serve the picture `busy.jpg` for a while."""

    is_busy = True

    def answer(self, path: str) -> Answer:
        if self.is_busy and path.startswith("/images/busy"):
            return 503, {}, b""
        return super().answer(path)


def told(database: Engine, post_id: str) -> list[list[dict[str, object]]]:
    """What each verdict of a post says of its pictures, the first verdict first."""
    query = select(verdicts.c.degraded).where(verdicts.c.post_id == post_id).order_by(verdicts.c.id)
    with transaction(database, read_only=True) as connection:
        return [list(row) for row in connection.execute(query).scalars()]


@pytest.mark.long
def test_posts_of_a_host_that_hangs_hold_nobody_up_and_are_judged_and_looked_at_again(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    database_url = f"sqlite:///{tmp_path}/deadpan.db"
    database = connect(database_url)
    migrate(database)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(512)
        hangs = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        posts = {f"slow{n}": {"text": f"look {n}"} for n in range(8)}
        posts |= {f"words{n}": {"text": f"a fine day {n}"} for n in range(8)}
        posts["busy"] = {"text": "look here", "images": ["busy.jpg"]}
        platform = Trouble(posts, {"busy.jpg": jpeg()})
        answer = platform._absolute

        def absolute(post: dict[str, object]) -> dict[str, object]:
            if str(post["text"]).startswith("look ") and "images" not in post:
                return {**post, "images": [f"{hangs}/{post['text']}-{k}.jpg" for k in range(10)]}
            return answer(post)

        platform._absolute = absolute  # type: ignore[method-assign, assignment]
        with (
            platform,
            running(
                tmp_path,
                valkey_server,
                database_url,
                platform,
                policy=policy,
                max_attempts=2,
                callback_url="https://platform.example/callbacks",
                callback_secret="whsec_" + "a" * 32,
                callback_verdicts="all",
            ) as child,
        ):
            slow, words = [k for k in posts if k[0] == "s"], [k for k in posts if k[0] == "w"]
            intake.enqueue([*slow[:4], *words[:4]])
            wait_until(lambda: bool(platform.asked["slow0"]), "the first posts in hand", child)
            intake.enqueue([*slow[4:], *words[4:], "busy"])
            intake.enqueue(["words0"], "high")
            wait_until(lambda: len(outcomes(database, words)) == 8, "those with words", child)
            wait_until(lambda: bool(outcomes(database, ["busy"])), "the one in trouble", child)
            wait_until(lambda: len(outcomes(database, slow)) == 8, "the slow ones", child)
            wait_until(lambda: not intake.status()["chunks"], "the end of their chunks", child)
            assert intake.status()["retries"] == 0, "no try was used up"
            assert intake.revisits() == 9

            # The first time: nothing has come, and nothing is written.
            platform.asked.clear()
            all_are_due(intake)
            wait_until(
                lambda: platform.asked["busy"] > 0 and intake.revisits() == 9,
                "a revisit in vain",
                child,
            )
            wait_until(lambda: not intake.status()["chunks"], "its end", child)
            assert len(told(database, "busy")) == 1

            # The second: the host serves again.
            platform.is_busy = False
            all_are_due(intake)
            wait_until(lambda: len(told(database, "busy")) == 2, "a second verdict", child)
    first, second = told(database, "busy")
    (problem,) = [each["problem"] for each in first]
    assert problem == "the image host answered 503 (service unavailable)"
    assert second == []
    for post_id in slow:
        (degraded,) = told(database, post_id)
        assert len(degraded) == 10
        assert all(
            str(each["problem"]).startswith("the image host did not answer in time")
            for each in degraded
        )
    with transaction(database, read_only=True) as connection:
        assert connection.execute(select(dead_letters)).all() == []
        events = connection.execute(select(outbox.c.post_id)).scalars().all()
        opened = connection.execute(select(flags.c.post_id)).scalars().all()
    assert sorted(events) == sorted([*slow, *words, "busy", "busy"]), "one for each verdict"
    assert sorted(opened) == sorted([*slow, "busy"]), "flagged once"
    database.dispose()
