"""The outbox: written with what it reports, claimed by one, in order, never lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from storage import tables
from storage.base.database import transaction
from storage.flags import claims
from storage.judging import outbox
from storage.judging.outbox import NewEvent, TakenEvent, Tried
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.keeping.lease import release, take
from tests.postgres import run_at_once

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLAG = NewFlag("review", 10, [{"rule": "sarcastic"}])


def _verdict(post_id: str, content: str = "a", flag: NewFlag | None = None) -> NewVerdict:
    return NewVerdict(
        post_id=post_id,
        content_hash=content * 64,
        model_version="m",
        calibration_version="c",
        policy_version="p",
        negative=0.1,
        neutral=0.2,
        positive=0.7,
        sarcasm=0.9,
        offensive=0.25,
        degraded=[{"image": 0, "location": "https://img.example/secret.jpg", "problem": "404"}],
        unread=[{"what": "text", "problem": "cut after 5 of 9 characters", "words": "secret"}],
        author="ann",
        flag=flag,
    )


def _events(*keys: str) -> list[NewEvent]:
    """One for each key, of the post that the key begins with."""
    return [NewEvent("verdict.created", key.split("-")[0], key, {"n": 1}) for key in keys]


def _add(database: Engine, *keys: str) -> int:
    with transaction(database) as connection:
        return outbox.add_events(connection, _events(*keys))


def _claim(database: Engine, limit: int = 100, seconds: float = 60.0) -> list[TakenEvent]:
    with transaction(database) as connection:
        return outbox.take_due(connection, limit=limit, seconds=seconds)


def _settle(database: Engine, *tries: Tried) -> None:
    with transaction(database) as connection:
        outbox.settle(connection, tries)


def _row(database: Engine, key: str) -> Any:
    with transaction(database, read_only=True) as connection:
        return connection.execute(
            select(tables.outbox).where(tables.outbox.c.idempotency_key == key)
        ).one()


def _make_due(database: Engine) -> None:
    with transaction(database) as connection:
        connection.execute(update(tables.outbox).values(next_attempt_at=NOW - timedelta(days=1)))


def _backlog(database: Engine) -> tuple[int, int]:
    with transaction(database, read_only=True) as connection:
        found = outbox.backlog(connection)
    return found.pending, found.parked


def test_a_new_verdict_is_reported_once_and_without_a_word_of_the_post(database: Engine) -> None:
    for _ in range(2):
        with transaction(database) as connection:
            recorded = record(
                connection, verdicts=[_verdict("p1", flag=FLAG)], report="all", now=NOW
            )
            if recorded.verdict_ids:
                verdict_id, flag_id = recorded.verdict_ids["p1"], recorded.opened_flag_ids["p1"]
    (event,) = _claim(database)
    assert event.event == "verdict.created"
    assert event.idempotency_key == f"verdict-{verdict_id}-{int(NOW.timestamp())}"
    assert event.payload == {
        "post_id": "p1",
        "verdict_id": verdict_id,
        "label": "positive",
        "sentiment": {"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        "sarcasm": 0.9,
        "offensive": 0.25,
        "hateful": None,
        "text_alone": None,
        "image_alone": None,
        "degraded": [{"image": 0, "problem": "404"}],
        "unread": [{"what": "text", "problem": "cut after 5 of 9 characters"}],
        "language": None,
        "unlearnt": False,
        "flag": {
            "id": flag_id, "queue": "review", "priority": 10, "reasons": [{"rule": "sarcastic"}]
        },
        "versions": {"model": "m", "calibration": "c", "policy": "p"},
        "content_hash": "a" * 64,
        "created_at": "2026-03-01T12:00:00+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("report", "posts"), [("all", {"p1", "p2"}), ("flagged", {"p2"}), ("none", set())]
)
def test_which_verdicts_are_reported_is_the_callers_choice(
    database: Engine, report: Any, posts: set[str]
) -> None:
    verdicts = [_verdict("p1"), _verdict("p2", flag=FLAG)]
    with transaction(database) as connection:
        record(connection, verdicts=verdicts, report=report)
    assert {event.post_id for event in _claim(database)} == posts


def test_an_event_is_there_only_if_its_transaction_commits(database: Engine) -> None:
    with transaction(database) as connection:
        record(connection, verdicts=[_verdict("p1")], report="all")
        connection.rollback()
    assert _backlog(database) == (0, 0)


def test_a_verdict_of_known_content_reports_a_renewed_flag_by_its_id(database: Engine) -> None:
    for content in "ab":
        with transaction(database) as connection:
            record(connection, verdicts=[_verdict("p1", content, FLAG)], report="all")
    _settle(database, *(Tried(event, "delivered") for event in _claim(database)))
    (second,) = _claim(database)
    assert second.payload["flag"]["id"] == 1


def test_what_no_database_stores_is_made_visible_in_an_event(database: Engine) -> None:
    reasons = [{"rule": "a\x00b", "value": float("nan")}]
    hostile = replace(
        _verdict("p1", flag=NewFlag("q", 1, reasons)), degraded=[{"image": 0, "problem": "\ud800"}]
    )
    with transaction(database) as connection:
        record(connection, verdicts=[hostile], report="all")
        outbox.add_events(
            connection, [NewEvent("decision.created", "p2", "decision-1-1", {"note": "x\x00"})]
        )
    verdict, decision = _claim(database)
    assert verdict.payload["flag"]["reasons"] == [{"rule": "a\\x00b", "value": None}]
    assert verdict.payload["degraded"] == [{"image": 0, "problem": "\\ud800"}]
    assert decision.payload == {"note": "x\\x00"}


def test_a_key_is_written_once(database: Engine) -> None:
    assert _add(database, "p1-1", "p1-1", "p2-1") == 2
    assert _add(database, "p1-1", "p3-1") == 1
    assert _backlog(database) == (3, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"idempotency_key": "a.b"}, "letters, digits"),
        ({"idempotency_key": ""}, "letters, digits"),
        ({"event": "verdict"}, "verdict.created"),
        ({"post_id": "p\x00"}, "NUL"),
    ],
)
def test_what_cannot_be_an_event_is_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NewEvent(
            **{"event": "a.b", "post_id": "p", "idempotency_key": "k", "data": {}} | change  # type: ignore[arg-type]
        )


def test_a_claimed_event_is_nobody_elses_until_its_claim_ends(database: Engine) -> None:
    _add(database, "p1-1")
    (first,) = _claim(database)
    assert _claim(database) == []
    _make_due(database)
    (second,) = _claim(database)
    assert (first.attempts, second.attempts) == (1, 2)
    assert first.idempotency_key == second.idempotency_key


def test_an_earlier_event_holds_back_the_later_ones_of_its_post_only(database: Engine) -> None:
    _add(database, "p1-1", "p1-2", "p2-1", "p1-3")
    first, other = _claim(database)
    assert [first.idempotency_key, other.idempotency_key] == ["p1-1", "p2-1"]
    _settle(database, Tried(first, "failed", 3600, "500"), Tried(other, "delivered"))
    assert _claim(database) == []
    assert _row(database, "p1-2").next_attempt_at == _row(database, "p1-1").next_attempt_at
    _make_due(database)
    (again,) = _claim(database)
    _settle(database, Tried(again, "delivered"))
    (second,) = _claim(database)
    assert second.idempotency_key == "p1-2"


def test_those_that_were_never_tried_can_be_claimed_alone(database: Engine) -> None:
    _add(database, "p1-1")
    _claim(database)
    _make_due(database)
    _add(database, "p2-1")
    _add(database, "p3-1")
    _add(database, "p3-2")
    with transaction(database) as connection:
        claimed = outbox.take_due(connection, limit=10, seconds=60, untried=True)
    assert [event.idempotency_key for event in claimed] == ["p3-1", "p2-1"]
    assert [event.idempotency_key for event in _claim(database)] == ["p1-1"]


def test_a_parked_event_holds_nothing_back_and_can_be_tried_again(database: Engine) -> None:
    _add(database, "p1-1", "p1-2")
    (first,) = _claim(database)
    _settle(database, Tried(first, "parked", error="410"))
    assert _backlog(database) == (1, 1)
    (second,) = _claim(database)
    assert second.idempotency_key == "p1-2"
    with transaction(database) as connection:
        (listed,) = outbox.undelivered(connection, limit=10, parked=True)
        assert (listed.last_error, listed.id) == ("410", first.id)
        assert outbox.retry_parked(connection, [first.id, second.id]) == 1
    (again,) = _claim(database)
    assert (again.idempotency_key, again.attempts) == ("p1-1", 1)


def test_a_late_failure_does_not_undo_what_another_delivered(database: Engine) -> None:
    _add(database, "p1-1", "p2-1")
    late = _claim(database)
    _make_due(database)
    newer = _claim(database)
    _settle(database, Tried(newer[0], "delivered"))
    _settle(database, Tried(late[0], "parked", error="x"), Tried(late[1], "parked", error="x"))
    assert _backlog(database) == (1, 0)
    # That it was delivered is true whoever says it.
    _settle(database, Tried(late[1], "delivered"))
    assert _backlog(database) == (0, 0)


def test_settling_twice_leaves_the_same_rows(database: Engine) -> None:
    _add(database, "a-1", "b-1", "c-1", "d-1")
    a, b, c, d = _claim(database)
    tries = [
        Tried(a, "delivered"), Tried(b, "parked", error="x"), Tried(c, "untried"),
        Tried(d, "failed", 50, "x"),
    ]  # fmt: skip
    _settle(database, *tries)
    attempts = [_row(database, f"{name}-1").attempts for name in "abcd"]
    delivered = _row(database, "a-1").delivered_at
    _settle(database, *tries)
    assert [_row(database, f"{name}-1").attempts for name in "abcd"] == attempts == [1, 1, 0, 1]
    assert _row(database, "a-1").delivered_at == delivered
    assert _backlog(database) == (2, 1)


def test_what_was_not_tried_keeps_its_place_in_line(database: Engine) -> None:
    _add(database, "p1-1")
    due_at = _row(database, "p1-1").next_attempt_at
    _settle(database, *(Tried(event, "untried") for event in _claim(database)))
    row = _row(database, "p1-1")
    assert (row.next_attempt_at, row.attempts) == (due_at, 0)


def test_delivered_events_are_forgotten_after_a_while(database: Engine) -> None:
    _add(database, "p1-1", "p2-1", "p3-1")
    first, second, _ = _claim(database)
    _settle(database, Tried(first, "delivered"), Tried(second, "delivered"))
    with transaction(database) as connection:
        connection.execute(
            update(tables.outbox)
            .where(tables.outbox.c.id == first.id)
            .values(delivered_at=NOW - timedelta(days=300))
        )
        assert outbox.forget_delivered(connection, days=7) == 1
        assert outbox.forget_delivered(connection, days=7) == 0
        assert set(outbox.events_by_id(connection, [1, 2, 3])) == {2, 3}


def test_processes_that_claim_at_once_share_nothing(database: Engine, database_url: str) -> None:
    _add(database, *(f"p{n}-1" for n in range(200)))
    program = """
import sys
from storage.judging import outbox
from storage.base.database import connect, transaction
engine = connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
mine = []
while True:
    with transaction(engine) as connection:
        claimed = outbox.take_due(connection, limit=7, seconds=60)
        outbox.settle(connection, [outbox.Tried(event, "delivered") for event in claimed])
    if not claimed:
        break
    mine += [event.id for event in claimed]
engine.dispose()
print(*mine)
"""
    ids = [
        number for said in run_at_once(program, database_url, times=3) for number in said.split()
    ]
    assert len(ids) == len(set(ids)) == 200
    assert _backlog(database) == (0, 0)


def test_one_holds_a_lease_until_it_ends_or_is_given_back(database: Engine) -> None:
    def attempt(holder: str, seconds: float = 60.0) -> bool:
        with transaction(database) as connection:
            return take(connection, "housekeeping", holder=holder, seconds=seconds)

    assert attempt("a")
    assert not attempt("b")
    assert attempt("a", seconds=-1.0)
    assert attempt("b")
    assert not attempt("a")
    with transaction(database) as connection:
        release(connection, "housekeeping", holder="a")
    assert not attempt("a")
    with transaction(database) as connection:
        release(connection, "housekeeping", holder="b")
    assert attempt("a")


def test_of_many_that_want_a_lease_one_gets_it(database: Engine) -> None:
    barrier = threading.Barrier(6)
    won: list[str] = []

    def attempt(holder: str) -> None:
        barrier.wait()
        with transaction(database) as connection:
            if take(connection, "housekeeping", holder=holder, seconds=60):
                won.append(holder)

    threads = [threading.Thread(target=attempt, args=(f"h{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_claim_that_ran_out_is_put_back(database: Engine) -> None:
    with transaction(database) as connection:
        record(connection, verdicts=[_verdict(f"p{n}", flag=FLAG) for n in range(3)])
        for number, expires_at in ((1, NOW), (2, datetime.now(UTC) + timedelta(hours=1))):
            connection.execute(
                update(tables.flags)
                .where(tables.flags.c.id == number)
                .values(state="claimed", claimed_by="ann", claim_expires_at=expires_at)
            )
        assert claims.expire(connection) == 1
        assert claims.expire(connection) == 0
        rows = connection.execute(select(tables.flags).order_by(tables.flags.c.id)).all()
    assert [row.state for row in rows] == ["open", "claimed", "open"]
    assert (rows[0].claimed_by, rows[0].claim_expires_at, rows[0].row_version) == (None, None, 2)
    assert rows[1].claimed_by == "ann"
