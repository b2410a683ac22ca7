"""Notifications over real HTTP, through Apprise, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import Engine, delete, select, update

from deadpan.core.settings.notifications import QuietHours
from storage import tables
from storage.base.database import transaction
from storage.judging.outcomes import record
from storage.judging.values import NewDeadLetter
from tasks.housekeeping.notices import RETRY_AFTER, Noticer
from tasks.housekeeping.targets import apprise_targets
from tasks.intake.intake import Intake
from tests.console_data import flag
from tests.receiver import Answer, Receiver, Request

NOW = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Inbox(Receiver):
    """Takes what Apprise's `json://` sends."""

    def take(self, request: Request) -> Answer:
        """Notes it, and answers as it was told to."""
        self.requests.append(request)
        return self.answer(request)

    @property
    def messages(self) -> list[str]:
        """What arrived, each with the path that it was sent to."""
        return [f"{r.path}: {json.loads(r.body)['message']}" for r in self.requests]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as receiver:
        yield receiver


def _noticer(database: Engine, inbox: Inbox, *paths: str, **more: object) -> Noticer:
    urls = [f"json://user:hunter2@127.0.0.1:{inbox.port}/{path}" for path in paths or ("a",)]
    return Noticer(database, apprise_targets(urls), leads=lambda: True, **more)  # type: ignore[arg-type]


def _overdue(database: Engine) -> int:
    return flag(database, "p1", due_at=NOW - HOUR, now=NOW - 2 * HOUR)


def _close(database: Engine, number: int, state: str = "decided") -> None:
    with transaction(database) as connection:
        which = tables.flags.c.id == number
        connection.execute(update(tables.flags).where(which).values(state=state))


def test_each_target_is_told_once_by_whatever_process(database: Engine, inbox: Inbox) -> None:
    number = _overdue(database)
    first, second = (
        _noticer(database, inbox, "a", "b", console_url="https://x.example") for _ in range(2)
    )
    for after in range(3):
        first.turn(now=NOW + after * MINUTE)
        second.turn(now=NOW + after * MINUTE)
    text = "Queue negative: 1 flag has been waiting longer than promised."
    link = "https://x.example/?queue=negative&due=late"
    assert inbox.messages == [f"/a: {text} {link}", f"/b: {text} {link}"]
    # Over, and soon so again: people know. An hour later they are told.
    _close(database, number)
    first.turn(now=NOW + 4 * MINUTE)
    _close(database, number, "open")
    second.turn(now=NOW + 6 * MINUTE)
    assert len(inbox.messages) == 2
    second.turn(now=NOW + HOUR + MINUTE)
    first.turn(now=NOW + HOUR + 2 * MINUTE)
    assert len(inbox.messages) == 4


def test_what_does_not_arrive_is_tried_again_and_then_given_up(
    database: Engine, inbox: Inbox
) -> None:
    inbox.answer = lambda request: 500 if request.path == "/a" else 204
    _overdue(database)
    moment = NOW
    for wait in (timedelta(), *RETRY_AFTER, timedelta(days=1)):
        moment += wait + timedelta(seconds=1)
        _noticer(database, inbox, "a", "b").turn(now=moment)
    told = [request.path for request in inbox.requests]
    assert told.count("/a") == len(RETRY_AFTER) + 1
    assert told.count("/b") == 1
    with transaction(database, read_only=True) as connection:
        rows = connection.execute(select(tables.notices).order_by(tables.notices.c.target)).all()
    assert (rows[0].gave_up_at, rows[0].sent_at) == (moment - timedelta(days=1, seconds=1), None)
    assert rows[1].attempts == 1
    assert "hunter2" not in repr(rows)


def test_quiet_hours_hold_messages_back_and_what_is_over_is_never_told(
    database: Engine, inbox: Inbox
) -> None:
    quiet = QuietHours(time(22), time(7), UTC)
    number = _overdue(database)
    noticer = _noticer(database, inbox, quiet=quiet)
    noticer.turn(now=NOW)
    _close(database, number)
    noticer.turn(now=NOW + HOUR)
    flag(database, "p2", queue="sarcasm", due_at=NOW - HOUR, now=NOW - 2 * HOUR)
    noticer.turn(now=NOW + 2 * HOUR)
    assert inbox.messages == []
    noticer.turn(now=NOW + 8 * HOUR)
    (message,) = inbox.messages
    assert "Queue sarcasm" in message


def test_new_dead_letters_are_told_of_at_most_once_an_hour(database: Engine, inbox: Inbox) -> None:
    def fail(*posts: str) -> None:
        letters = [NewDeadLetter(post, "fetch", "no", 1) for post in posts]
        with transaction(database) as connection:
            record(connection, verdicts=[], dead_letters=letters)

    noticer = _noticer(database, inbox)
    fail("1", "2")
    noticer.turn(now=NOW)
    fail("3")
    noticer.turn(now=NOW + 10 * MINUTE)
    noticer.turn(now=NOW + 2 * HOUR)
    noticer.turn(now=NOW + 4 * HOUR)
    assert [message.split(" could")[0] for message in inbox.messages] == [
        "/a: 2 posts",
        "/a: 1 post",
    ]
    with transaction(database) as connection:
        connection.execute(delete(tables.dead_letters))
    noticer.turn(now=NOW + 6 * HOUR)
    assert len(inbox.messages) == 2


def test_a_source_is_down_when_most_workers_say_so(
    database: Engine, inbox: Inbox, intake: Intake
) -> None:
    noticer = _noticer(database, inbox, intake=intake)
    noticer.turn(now=NOW)
    for name, down in (("a", True), ("b", True), ("c", False)):
        intake.say(name, ready=True, model="m", source={"down": down})
    noticer.turn(now=NOW + MINUTE)
    noticer.turn(now=NOW + 2 * MINUTE)
    (message,) = inbox.messages
    assert "The post source is down" in message
