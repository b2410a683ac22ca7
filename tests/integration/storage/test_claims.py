"""Claims and decisions on the real databases: races, expiry, undo, batches."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.database import connect, transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.people import audit, moderators
from storage.people.moderators import Moderator
from tests.console_data import flag, moderator, reason
from tests.postgres import run_at_once

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REMOVE = Said("remove", reason_code="harassment")


@pytest.fixture
def people(database: Engine) -> dict[str, Moderator]:
    roles = {"ann": "moderator", "bob": "moderator", "eve": "lead", "vic": "viewer"}
    with transaction(database) as connection:
        return {name: moderator(connection, name, role) for name, role in roles.items()}


def _state(database: Engine, flag_id: int) -> tuple[str, str | None]:
    with transaction(database, read_only=True) as connection:
        found = worklist.one(connection, flag_id)
    return found.state, found.claimed_by


def test_next_is_the_highest_priority_and_then_the_oldest(
    database: Engine, people: dict[str, Moderator]
) -> None:
    low = flag(database, "low", priority=1, now=NOW)
    newer = flag(database, "newer", priority=9, now=NOW + timedelta(hours=1))
    older = flag(database, "older", priority=9, now=NOW)
    order = []
    for _ in range(4):
        with transaction(database) as connection:
            got = claims.claim_next(connection, people["ann"], claim_seconds=60)
            order.append(got)
            if got is not None:
                decisions.decide(connection, got, people["ann"], REMOVE)
    assert order == [older, newer, low, None]


def test_next_gives_back_what_the_moderator_holds_already(
    database: Engine, people: dict[str, Moderator]
) -> None:
    flag(database, "a"), flag(database, "b")
    got = []
    for _ in range(2):
        with transaction(database) as connection:
            got.append(claims.claim_next(connection, people["ann"], claim_seconds=60))
    assert got[0] == got[1]


def test_a_skipped_flag_is_for_others(database: Engine, people: dict[str, Moderator]) -> None:
    only = flag(database, "a")
    with transaction(database) as connection:
        assert claims.claim_next(connection, people["ann"], claim_seconds=60) == only
        decisions.decide(connection, only, people["ann"], Said("skip"))
        assert claims.claim_next(connection, people["ann"], claim_seconds=60) is None
        assert claims.claim_next(connection, people["bob"], claim_seconds=60) == only


def test_an_escalated_flag_goes_to_a_lead_first(
    database: Engine, people: dict[str, Moderator]
) -> None:
    hard, easy = flag(database, "hard", priority=1), flag(database, "easy", priority=90)
    with transaction(database) as connection:
        decisions.decide(connection, hard, people["ann"], Said("escalate"))
        assert claims.claim_next(connection, people["bob"], claim_seconds=60) == easy
        assert claims.claim_next(connection, people["eve"], claim_seconds=60) == hard


def test_a_claim_that_is_over_goes_back_to_where_it_was(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        claims.claim(connection, one, people["ann"], claim_seconds=60, now=NOW)
        assert not claims.any_expired(connection, now=NOW)
        later = NOW + timedelta(seconds=61)
        assert claims.any_expired(connection, now=later)
        assert claims.claim_next(connection, people["bob"], claim_seconds=60, now=later) == one
        said = [entry.action for entry in audit.read(connection, limit=9, actor="ann")]
        assert said[0] == "flag.claim-expired"
        with pytest.raises(FlagConflict, match="your claim has expired; bob has claimed this flag"):
            claims.renew(connection, one, people["ann"], claim_seconds=60, now=later)


def test_a_flag_is_handed_to_somebody_who_may_decide(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        claims.claim(connection, one, people["ann"], claim_seconds=60)
        with pytest.raises(FlagConflict, match="vic cannot decide flags"):
            claims.hand_over(connection, one, people["ann"], people["vic"], claim_seconds=60)
        claims.hand_over(connection, one, people["ann"], people["bob"], claim_seconds=60)
    assert _state(database, one) == ("claimed", "bob")


def test_a_decision_says_whether_the_model_was_right(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a", negative=0.9, sarcasm=0.7, offensive=0.6)
    with transaction(database) as connection:
        claims.claim(connection, one, people["ann"], claim_seconds=60, now=NOW)
        said = Said(
            "remove", "hate", "  so bad ", sentiment="negative", sarcastic=False, offensive=True
        )
        done = decisions.decide(
            connection, one, people["ann"], said, now=NOW + timedelta(seconds=12)
        )
    assert (done.agrees_sentiment, done.agrees_sarcasm) == (True, False)
    assert (done.offensive, done.agrees_offensive) == (True, True)
    assert (done.note, done.reason_code, done.seconds_taken) == ("so bad", "hate", 12.0)
    with transaction(database, read_only=True) as connection:
        closed = worklist.one(connection, one)
    assert (closed.state, closed.outcome, closed.claimed_by) == ("decided", "remove", None)
    unasked = flag(database, "b")
    with transaction(database) as connection:
        done = decisions.decide(connection, unasked, people["ann"], replace(said, sentiment=None))
    assert (done.offensive, done.agrees_offensive, done.agrees_sentiment) == (True, None, None)


def test_a_double_click_is_one_decision(database: Engine, people: dict[str, Moderator]) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        first = decisions.decide(connection, one, people["ann"], REMOVE)
        assert decisions.decide(connection, one, people["ann"], REMOVE) == first
        with pytest.raises(FlagConflict, match="this flag was removed"):
            decisions.decide(connection, one, people["bob"], REMOVE)


def test_who_looked_at_older_content_is_asked_to_look_again(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database, read_only=True) as connection:
        seen = worklist.one(connection, one).verdict_id
    assert flag(database, "a", content="edited") == one
    with transaction(database) as connection, pytest.raises(FlagConflict, match="look again"):
        decisions.decide(connection, one, people["ann"], replace(REMOVE, seen_verdict_id=seen))


@pytest.mark.parametrize("action", ["approve", "remove", "escalate", "skip"])
def test_what_was_decided_can_be_undone_for_a_minute(
    database: Engine, people: dict[str, Moderator], action: str
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        claims.claim(connection, one, people["ann"], claim_seconds=60, now=NOW)
        done = decisions.decide(connection, one, people["ann"], Said(action), now=NOW)  # type: ignore[arg-type]
        late = NOW + timedelta(seconds=61)
        with pytest.raises(FlagConflict, match="60 seconds"):
            decisions.undo(connection, done.id, people["ann"], claim_seconds=60, now=late)
        with pytest.raises(FlagConflict, match="only ann"):
            decisions.undo(connection, done.id, people["bob"], claim_seconds=60, now=NOW)
        event = decisions.undo(connection, done.id, people["ann"], claim_seconds=60, now=NOW)
        assert (event.action, event.undoes) == ("undo", done.id)
        with pytest.raises(FlagConflict, match="already undone"):
            decisions.undo(connection, done.id, people["ann"], claim_seconds=60, now=NOW)
        assert decisions.by_id(connection, done.id).undone
    assert _state(database, one) == ("claimed", "ann")


def test_undo_gives_way_to_a_newer_flag_of_the_post(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        done = decisions.decide(connection, one, people["ann"], REMOVE)
    flag(database, "a", content="edited")
    with transaction(database) as connection:
        with pytest.raises(FlagConflict, match="flagged again"):
            decisions.undo(connection, done.id, people["ann"], claim_seconds=60)
        assert worklist.one(connection, one).state == "decided"


def test_many_are_decided_and_undone_together(
    database: Engine, people: dict[str, Moderator]
) -> None:
    ids = [flag(database, f"p{number}") for number in range(4)]
    with transaction(database) as connection:
        seen = {each.id: each.verdict_id for each in worklist.many(connection, ids)}
        claims.claim(connection, ids[0], people["bob"], claim_seconds=60)
        claims.claim(connection, ids[1], people["ann"], claim_seconds=60)
        batch, made, refused = decisions.decide_batch(connection, seen, people["ann"], REMOVE)
    assert [decision.flag_id for decision in made] == ids[1:]
    assert refused == {ids[0]: "bob has claimed this flag"}
    with transaction(database) as connection:
        undone, refused = decisions.undo_batch(connection, batch, people["ann"])
        assert (len(undone), refused) == (3, {})
    assert [_state(database, one)[0] for one in ids] == ["claimed", "open", "open", "open"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"action": "burn"}, "burn"),
        ({"action": "remove", "sentiment": "meh"}, "meh"),
        ({"action": "remove", "note": "x" * 2001}, "2001 characters"),
    ],
)
def test_what_cannot_be_said_is_refused(said: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Said(**said)  # type: ignore[arg-type]


def test_threads_that_want_the_next_flag_never_get_the_same(
    database: Engine, people: dict[str, Moderator]
) -> None:
    ids = {flag(database, f"p{number}") for number in range(60)}
    with transaction(database) as connection:
        crew = [moderator(connection, f"m{number}") for number in range(6)]

    def shift(who: Moderator) -> list[int]:
        got = []
        while True:
            with transaction(database) as connection:
                one = claims.claim_next(connection, who, claim_seconds=60)
            if one is None:
                return got
            got.append(one)
            with transaction(database) as connection:
                decisions.decide(connection, one, who, REMOVE)

    with ThreadPoolExecutor(len(crew)) as pool:
        taken = [one for got in pool.map(shift, crew) for one in got]
    assert sorted(taken) == sorted(ids)
    with transaction(database, read_only=True) as connection:
        number, flags = connection.execute(
            select(func.count(), func.count(tables.decisions.c.flag_id.distinct()))
        ).one()
        assert (number, flags) == (60, 60)
        assert queries.counts(connection).flags["decided"] == 60


def test_processes_that_fight_for_the_same_flags_decide_each_once(
    database: Engine, database_url: str, people: dict[str, Moderator]
) -> None:
    for number in range(40):
        flag(database, f"p{number}")
    program = """
import json, sys
from deadpan.core.errors import FlagConflict
from storage.flags import claims, decisions; from storage.people import moderators
from storage.base.database import connect, transaction
engine = connect(sys.argv[1])
with transaction(engine) as connection:
    me = moderators.by_name(connection, "ann")
names = {"ann": 0, "bob": 1}
print("ready", flush=True)
sys.stdin.read()
won, beaten = [], 0
for number in range(1, 41):
    for name in ("ann", "bob"):
        try:
            with transaction(engine) as connection:
                who = moderators.by_name(connection, name)
                claims.claim(connection, number, who, claim_seconds=60)
                decisions.decide(connection, number, who, decisions.Said("remove", "x"))
            won.append(number)
        except FlagConflict:
            beaten += 1
engine.dispose()
print(json.dumps([won, beaten]))
"""
    said = [json.loads(each) for each in run_at_once(program, database_url, times=3)]
    won = [number for each, _ in said for number in each]
    assert sorted(won) == list(range(1, 41))
    assert sum(beaten for _, beaten in said) == 3 * 80 - 40


def test_lists_are_filtered_and_read_in_pages(
    database: Engine, people: dict[str, Moderator]
) -> None:
    two = [reason("negative", "sentiment.negative", 0.6, 0.9), reason("rare", "sarcasm", 0.7, 0.8)]
    rare = flag(database, "rare", reasons=two, author="zoe", sarcasm=0.8, offensive=0.7, now=NOW)
    rest = [
        flag(database, f"p{n}", priority=n % 3, queue="sarcasm" if n % 2 else "negative", now=NOW)
        for n in range(9)
    ]
    with transaction(database) as connection:
        claims.claim(connection, rest[0], people["ann"], claim_seconds=60)
        decisions.decide(connection, rest[1], people["ann"], REMOVE)
    with transaction(database, read_only=True) as connection:
        for wanted in (
            Filter(rule="rare"),
            Filter(author="zoe"),
            Filter(post_id="rare"),
            Filter(sarcasm=0.8),
            Filter(offensive=0.7),
        ):
            assert [each.id for each in worklist.page(connection, wanted, limit=9)] == [rare]
        assert worklist.page(connection, Filter(negative=0.81), limit=9) == []
        assert worklist.page(connection, Filter(hateful=0.0), limit=9) == []
        assert worklist.page(connection, Filter(opened_before=NOW), limit=9) == []
        read, after = [], None
        while page := worklist.page(connection, Filter(), limit=2, after=after):
            read += page
            after = page[-1].position
        assert sorted(each.id for each in read) == sorted({rare, *rest} - {rest[1]})
        keys = [(-each.priority, each.opened_at, each.id) for each in read]
        assert keys == sorted(keys)
        assert worklist.waiting(connection) == {
            "negative": {"open": 5, "claimed": 1, "escalated": 0},
            "sarcasm": {"open": 3, "claimed": 0, "escalated": 0},
        }
        assert worklist.oldest(connection) == NOW
        assert [e.id for e in worklist.of_author(connection, "zoe", limit=5)] == [rare]
        assert [e.id for e in worklist.of_post(connection, "p1", limit=5)] == [rest[1]]


def test_the_last_admin_stays_one(database: Engine) -> None:
    with transaction(database) as connection:
        moderator(connection, "root", "admin")
        for change in (
            lambda: moderators.set_role(connection, "root", "viewer", actor="x"),
            lambda: moderators.set_disabled(connection, "root", True, actor="x"),
        ):
            with pytest.raises(ConfigurationError, match="last admin"):
                with connection.begin_nested():
                    change()
        moderator(connection, "other", "admin")
        assert moderators.set_role(connection, "root", "viewer", actor="x").role == "viewer"


def _claim_after_writing(engine: Engine, flag_id: int, who: Moderator) -> None:
    with transaction(engine) as connection:
        audit.write(connection, who.name, "test", "nothing")
        claims.claim(connection, flag_id, who, claim_seconds=60)


def test_an_engine_is_not_kept_by_a_lost_race(database_url: str, database: Engine) -> None:
    """A conflict rolls back all of its transaction, and the next one works."""
    one = flag(database, "a")
    with transaction(database) as connection:
        ann, bob = moderator(connection, "x1"), moderator(connection, "x2")
        claims.claim(connection, one, ann, claim_seconds=60)
    other = connect(database_url)
    try:
        with pytest.raises(FlagConflict):
            _claim_after_writing(other, one, bob)
        with transaction(other, read_only=True) as connection:
            assert audit.read(connection, limit=9, action="test") == []
    finally:
        other.dispose()
