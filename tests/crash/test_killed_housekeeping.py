"""SIGKILL between a callback's request and its commit: it arrives again, with the same id."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from sqlalchemy import Engine, select

from storage import tables
from storage.base.database import transaction
from storage.judging import outbox
from storage.judging.outbox import NewEvent
from tests.harness import environment, wait_until
from tests.receiver import SECRET, Receiver, Request
from worker.local.processes import ChildProcess


def _housekeeping(folder: Path, name: str, database_url: str, receiver: Receiver) -> ChildProcess:
    settings = environment(
        database_url=database_url,
        callback_url=receiver.url,
        callback_secret=SECRET,
        callback_timeout_seconds=1,
        allow_private_addresses="127.0.0.0/8",
        log_format="json",
    )
    return ChildProcess(
        name,
        [sys.executable, "-m", "deadpan", "housekeeping"],
        environment=settings,
        log_path=folder / f"{name}.log",
    )


def _leader(database: Engine) -> int | None:
    """The process id of who leads."""
    with transaction(database, read_only=True) as connection:
        holder = connection.execute(select(tables.leases.c.holder)).scalar_one_or_none()
    return None if holder is None else int(holder.split("/")[1])


def test_a_callback_whose_sender_was_killed_is_sent_again_by_another_with_the_same_id(
    tmp_path: Path, database: Engine, database_url: str
) -> None:
    victims: list[int] = []
    one_at_a_time = threading.Lock()  # the receiver hears several senders at once

    def answer(request: Request) -> int:
        # The request is here whole; its sender dies before it hears so, and before it commits.
        with one_at_a_time:
            if not victims and len(receiver.accepted) >= 20:
                leader = _leader(database)
                assert leader is not None
                victims.append(leader)
                os.kill(leader, signal.SIGKILL)
        return 204

    keys = [f"verdict-{number}-1" for number in range(60)]
    with Receiver(answer=answer) as receiver:
        first = _housekeeping(tmp_path, "first", database_url, receiver)
        second = _housekeeping(tmp_path, "second", database_url, receiver)
        with first, second:
            wait_until(lambda: _leader(database) is not None, "a leader", first, second)
            with transaction(database) as connection:
                outbox.add_events(
                    connection,
                    [
                        NewEvent("verdict.created", f"p{number % 30}", key, {"post_id": "p"})
                        for number, key in enumerate(keys)
                    ],
                )

            def all_delivered() -> bool:
                with transaction(database, read_only=True) as connection:
                    return outbox.backlog(connection).pending == 0

            wait_until(all_delivered, "delivery", first, second)
            survivor = second if victims == [first.pid] else first
            assert survivor.exit_code is None
            assert _leader(database) == survivor.pid
    times = receiver.times_accepted
    assert set(times) == set(keys), "nothing is lost"
    repeated = [key for key, count in times.items() if count > 1]
    assert repeated, "what was under way came again"
    assert max(times.values()) == 2
    for key in repeated:
        bodies = {request.body for request in receiver.accepted if request.id == key}
        assert len(bodies) == 1
    assert receiver.refused == []
