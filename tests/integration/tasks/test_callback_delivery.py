"""Callbacks over real HTTP, from the outbox to a receiver, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network

from pydantic import SecretStr
from sqlalchemy import Engine, select

from deadpan.core.settings import signing_secrets
from storage import tables
from storage.base.database import connect, transaction
from storage.judging import outbox
from storage.judging.outbox import NewEvent
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.migrations.schema import migrate
from tasks.callbacks.delivery import Deliverer, Patience, Schedule
from tasks.callbacks.webhook import Sender
from tasks.housekeeping.housekeeping import Housekeeper
from tests.harness import wait_until
from tests.postgres import Postgres
from tests.receiver import OTHER_SECRET, SECRET, Receiver, Request
from worker.local.embedded import free_port

LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = Schedule(base_seconds=0.02, jitter=lambda: 1.0)


class Hasty(Patience):
    """A clock that runs fifty times as fast, so that rests are short."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: time.monotonic() * 50)


def _add(database: Engine, *keys: str) -> None:
    with transaction(database) as connection:
        outbox.add_events(
            connection,
            [
                NewEvent("verdict.created", key.split("-")[0], key, {"post_id": key.split("-")[0]})
                for key in keys
            ],
        )


def _backlog(database: Engine) -> tuple[int, int]:
    with transaction(database, read_only=True) as connection:
        found = outbox.backlog(connection)
    return found.pending, found.parked


def _errors(database: Engine) -> list[str]:
    with transaction(database, read_only=True) as connection:
        return [each.last_error or "" for each in outbox.undelivered(connection, limit=100)]


def _housekeeper(
    database: Engine,
    url: str,
    *,
    name: str = "h",
    schedule: Schedule = QUICK,
    secrets: str = SECRET,
    timeout_seconds: float = 5.0,
    networks: Sequence[object] = LOOPBACK,
    lease_seconds: float = 10.0,
) -> Housekeeper:
    sender = Sender(
        url,
        signing_secrets(SecretStr(secrets)),
        timeout_seconds=timeout_seconds,
        allowed_networks=networks,  # type: ignore[arg-type]
        connections=4,
    )
    return Housekeeper(
        database,
        holder=name,
        deliverer=Deliverer(sender, schedule=schedule, connections=4, patience=Hasty()),
        retention_days=7,
        lease_seconds=lease_seconds,
    )


@contextmanager
def keeping_house(housekeeper: Housekeeper) -> Iterator[Housekeeper]:
    thread = threading.Thread(target=housekeeper.run)
    thread.start()
    try:
        yield housekeeper
    finally:
        housekeeper.stop()
        thread.join()


def _all_delivered(database: Engine) -> Callable[[], bool]:
    return lambda: _backlog(database) == (0, 0)


def test_in_peace_each_event_arrives_once_and_in_order_for_its_post(database: Engine) -> None:
    keys = [f"p{post}-{turn}" for turn in range(3) for post in range(40)]
    with Receiver() as receiver:
        _add(database, *keys)
        with keeping_house(_housekeeper(database, receiver.url)):
            wait_until(_all_delivered(database), "delivery")
    assert receiver.times_accepted == dict.fromkeys(keys, 1)
    assert receiver.refused == []
    arrived: dict[str, list[str]] = {}
    for request in receiver.accepted:
        arrived.setdefault(request.post_id, []).append(request.id)
    assert all(ids == sorted(ids) for ids in arrived.values())
    assert len({request.port for request in receiver.accepted}) <= 4


def test_a_receiver_that_was_down_gets_everything_when_it_is_back(database: Engine) -> None:
    port = free_port()
    keys = [f"p{number}-1" for number in range(50)]
    _add(database, *keys)
    with keeping_house(_housekeeper(database, f"http://127.0.0.1:{port}/callbacks")):
        wait_until(lambda: any("refused" in each for each in _errors(database)), "a failure")
        with Receiver(port=port) as receiver:
            wait_until(_all_delivered(database), "delivery")
    assert receiver.times_accepted == dict.fromkeys(keys, 1)


def test_errors_are_tried_again_with_the_same_id_and_body_and_in_order(database: Engine) -> None:
    failures = {"p1-1": 3, "p2-1": 1}

    def answer(request: Request) -> int:
        left = failures.get(request.id, 0)
        failures[request.id] = left - 1
        return 500 if left > 0 else 200

    with Receiver(answer=answer) as receiver:
        _add(database, "p1-1", "p1-2", "p2-1", "p1-3")
        with keeping_house(_housekeeper(database, receiver.url)):
            wait_until(_all_delivered(database), "delivery")
    assert [r.id for r in receiver.requests if r.post_id == "p1"] == ["p1-1"] * 4 + ["p1-2", "p1-3"]
    assert len({request.body for request in receiver.requests if request.id == "p1-1"}) == 1
    assert set(receiver.times_accepted.values()) == {1}


def test_a_receiver_that_hangs_for_one_post_does_not_stop_the_others(database: Engine) -> None:
    receiver = Receiver()

    def answer(request: Request) -> int:
        if request.post_id == "slow":
            receiver.ended.wait(60)
        return 200

    receiver.answer = answer
    with receiver:
        _add(database, "slow-1", "slow-2", *(f"p{number}-1" for number in range(30)))
        with keeping_house(_housekeeper(database, receiver.url, timeout_seconds=1.0)):
            wait_until(lambda: len(receiver.accepted) == 30, "delivery of the others")
            wait_until(
                lambda: any("in time" in each for each in _errors(database)), "the timeout noted"
            )
        # Those that hang are let go when the receiver ends; what counts is what it said before.
        accepted = receiver.times_accepted
        asked = {request.id for request in receiver.requests}
    assert accepted == {f"p{number}-1": 1 for number in range(30)}
    assert "slow-2" not in asked


def test_a_receiver_that_fails_for_many_posts_still_gets_the_others(database: Engine) -> None:
    with Receiver(answer=lambda r: 500 if r.post_id.startswith("bad") else 200) as receiver:
        _add(database, *(f"bad{number}-1" for number in range(60)))
        schedule = Schedule(0.02, max_attempts=1000, jitter=lambda: 1.0)
        with keeping_house(_housekeeper(database, receiver.url, schedule=schedule)):
            wait_until(lambda: len(receiver.requests) >= 10, "failures")
            keys = [f"p{number}-1" for number in range(4)]
            for key in keys:
                _add(database, key)
            wait_until(lambda: len(receiver.accepted) == 4, "delivery of the others")
    assert receiver.times_accepted == dict.fromkeys(keys, 1)
    assert _backlog(database) == (60, 0)


def test_what_fails_too_often_or_is_gone_is_parked_and_can_be_tried_again(
    database: Engine,
) -> None:
    wanted = 500
    with Receiver(answer=lambda request: 410 if request.post_id == "gone" else wanted) as receiver:
        _add(database, "gone-1", "p1-1", "p1-2")
        schedule = Schedule(0.01, max_attempts=3, jitter=lambda: 1.0)
        with keeping_house(_housekeeper(database, receiver.url, schedule=schedule)):
            wait_until(lambda: _backlog(database) == (0, 3), "parking")
            tries = [request.id for request in receiver.requests]
            assert [tries.count(key) for key in ("gone-1", "p1-1", "p1-2")] == [1, 3, 3]
            assert any("410" in each for each in _errors(database))
            wanted = 200
            with transaction(database) as connection:
                assert outbox.retry_parked(connection) == 3
            wait_until(lambda: _backlog(database) == (0, 1), "delivery")
    assert receiver.times_accepted == {"p1-1": 1, "p1-2": 1}


def test_retry_after_is_obeyed(database: Engine) -> None:
    with Receiver(answer=lambda _: (503, {"Retry-After": "1800"})) as receiver:
        _add(database, "p1-1")
        began = datetime.now(UTC)
        with keeping_house(_housekeeper(database, receiver.url)):
            wait_until(lambda: any(_errors(database)), "the failure noted")
    with transaction(database, read_only=True) as connection:
        (event,) = outbox.undelivered(connection, limit=10)
    assert (event.next_attempt_at - began).total_seconds() >= 1800
    assert event.attempts == 1


def test_a_secret_can_be_changed_without_a_refusal(database: Engine) -> None:
    for number, (receivers, ours) in enumerate(
        [
            (SECRET, SECRET),
            (SECRET, f"{OTHER_SECRET},{SECRET}"),
            (OTHER_SECRET, f"{OTHER_SECRET},{SECRET}"),
            (OTHER_SECRET, OTHER_SECRET),
        ]
    ):
        with Receiver(secret=receivers) as receiver:
            _add(database, f"p{number}-1")
            with keeping_house(_housekeeper(database, receiver.url, secrets=ours)):
                wait_until(_all_delivered(database), "delivery")
        assert (len(receiver.accepted), receiver.refused) == (1, [])


def test_a_private_receiver_that_nobody_allowed_gets_nothing_and_the_list_says_why(
    database: Engine,
) -> None:
    with Receiver() as receiver:
        _add(database, "p1-1")
        url = f"http://localhost:{receiver.port}/"
        with keeping_house(_housekeeper(database, url, networks=())):
            wait_until(lambda: any(_errors(database)), "the refusal noted")
        assert receiver.requests == []
    (error,) = _errors(database)
    assert "private address" in error
    assert "DEADPAN_ALLOW_PRIVATE_ADDRESSES" in error


def test_one_leads_and_the_other_takes_over_when_it_ends(database: Engine) -> None:
    with Receiver() as receiver:
        first = _housekeeper(database, receiver.url, name="first")
        second = _housekeeper(database, receiver.url, name="second", lease_seconds=2.0)
        with keeping_house(first):
            wait_until(lambda: first.leads, "the lead")
            with keeping_house(second):
                wait_until(lambda: second.not_ready() is None, "standing by")
                assert not second.leads
                _add(database, "p1-1")
                wait_until(_all_delivered(database), "delivery")
                first.stop()
                wait_until(lambda: second.leads, "the takeover")
                _add(database, "p2-1")
                wait_until(_all_delivered(database), "delivery by the other")
    assert receiver.times_accepted == {"p1-1": 1, "p2-1": 1}


def test_housekeeping_that_ends_gives_back_what_it_has_not_tried(database: Engine) -> None:
    receiver = Receiver()

    def answer(_: Request) -> int:
        receiver.ended.wait(60)
        return 200

    receiver.answer = answer
    with receiver:
        _add(database, *(f"p{number}-1" for number in range(16)))
        with keeping_house(_housekeeper(database, receiver.url, timeout_seconds=1.0)):
            wait_until(lambda: len(receiver.requests) == 4, "four under way")
    with transaction(database, read_only=True) as connection:
        events = outbox.undelivered(connection, limit=100)
        holders = connection.execute(select(tables.leases.c.holder)).all()
    assert sorted(event.attempts for event in events) == [0] * 12 + [1] * 4
    assert holders == []


def test_a_database_that_restarts_in_the_middle_costs_no_event(postgres: Postgres) -> None:
    url = postgres.create_database()
    database = connect(url)
    migrate(database)
    keys = [f"p{number}-1" for number in range(200)]
    paused, go_on = threading.Event(), threading.Event()

    def answer(_: Request) -> int:
        if len(receiver.requests) > 40:
            paused.set()
            go_on.wait(60)
        return 200

    try:
        with Receiver(answer=answer) as receiver:
            _add(database, *keys)
            housekeeper = _housekeeper(database, receiver.url, timeout_seconds=1.0)
            with keeping_house(housekeeper):
                assert paused.wait(60)
                postgres.stop()
                wait_until(lambda: housekeeper.not_ready() is not None, "not ready")
                go_on.set()
                postgres.start()
                wait_until(_all_delivered(database), "delivery")
                wait_until(lambda: housekeeper.not_ready() is None, "ready again")
        assert set(receiver.times_accepted) == set(keys)
    finally:
        go_on.set()
        database.dispose()
        postgres.start()
        postgres.drop_database(url)


def test_housekeeping_waits_for_a_database_that_is_not_migrated_yet(tmp_path: object) -> None:
    database = connect(f"sqlite:///{tmp_path}/new.db")
    with keeping_house(_housekeeper(database, "http://127.0.0.1:9/")) as housekeeper:
        wait_until(
            lambda: "deadpan db migrate" in (housekeeper.not_ready() or ""), "the problem named"
        )
        migrate(database)
        wait_until(lambda: housekeeper.not_ready() is None, "ready")
    database.dispose()


def test_expired_claims_are_put_back(database: Engine) -> None:
    with transaction(database) as connection:
        record(
            connection,
            verdicts=[
                NewVerdict("p", "a" * 64, "m", "c", "p", 0, 0, 1, 0, flag=NewFlag("q", 1, []))
            ],
        )
        connection.execute(
            tables.flags.update().values(
                state="claimed", claimed_by="ann", claim_expires_at=datetime(2026, 1, 1, tzinfo=UTC)
            )
        )

    def is_open() -> bool:
        with transaction(database, read_only=True) as connection:
            return connection.execute(select(tables.flags.c.state)).scalar_one() == "open"

    with keeping_house(_housekeeper(database, "http://127.0.0.1:9/")):
        wait_until(is_open, "the claim's end")
