"""Second looks, appeals, known answers and agreement on the real databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.keeping import erasure
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reviews import fairness, known_answers, reviews, second_looks
from storage.tables import outbox
from tests.console_data import flag, moderator

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=61)
ALL, NONE = Sampling(1.0, "key"), Sampling()
REMOVE, APPROVE, SKIP = (
    Said("remove", reason_code="hate", note="a quote"),
    Said("approve"),
    Said("skip"),
)


@pytest.fixture
def people(database: Engine) -> dict[str, Moderator]:
    roles = {
        "ann": "moderator",
        "bob": "moderator",
        "cat": "moderator",
        "eve": "lead",
        "eli": "lead",
        "vic": "viewer",
    }
    with transaction(database) as connection:
        return {name: moderator(connection, name, role) for name, role in roles.items()}


def _decide(
    database: Engine,
    number: int,
    who: Moderator,
    said: Said = REMOVE,
    sampling: Sampling = ALL,
    now: datetime = NOW,
) -> int:
    with transaction(database) as connection:
        made = decisions.decide(
            connection, number, who, said, report=True, now=now, second_looks=sampling
        )
    return made.id


def _next(database: Engine, who: Moderator, now: datetime = LATER, **more: float) -> int | None:
    with transaction(database) as connection:
        return second_looks.take_next(connection, who, claim_seconds=60, now=now, **more)  # type: ignore[arg-type]


def _vote(
    database: Engine, number: int | None, who: Moderator, said: Said, now: datetime = LATER
) -> tables.Review:
    assert number is not None
    with transaction(database) as connection:
        second_looks.vote(connection, number, who, said, report=True, now=now)
        return reviews.by_id(connection, number)


def _events(database: Engine) -> list[str]:
    with transaction(database, read_only=True) as connection:
        rows = connection.execute(select(outbox.c.payload).order_by(outbox.c.id)).scalars()
        return [payload["action"] for payload in rows]


def test_a_second_look_is_for_somebody_who_had_no_part_in_it(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection:
        decisions.decide(connection, one, people["cat"], SKIP, second_looks=ALL, now=NOW)
    _decide(database, one, people["ann"])
    assert _next(database, people["bob"], NOW) is None, "it may still be undone"
    assert _next(database, people["ann"]) is None, "she decided it"
    assert _next(database, people["cat"]) is None, "she saw it all"
    look = _next(database, people["bob"])
    assert look is not None
    assert _next(database, people["bob"]) == look, "he has it in hand"
    assert _next(database, people["eve"]) is None
    assert _next(database, people["eve"], LATER + timedelta(minutes=2)) == look, "his time was up"
    with pytest.raises(FlagConflict, match="claim on this second look has expired"):
        _vote(database, look, people["bob"], REMOVE)


def test_who_agrees_closes_it_and_the_platform_hears_nothing(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    _decide(database, one, people["ann"])
    found = _vote(database, _next(database, people["bob"]), people["bob"], REMOVE)
    assert (found.state, found.outcome) == ("decided", "remove")
    again = _vote(database, found.id, people["bob"], REMOVE)
    assert again == found, "a double click is one vote"
    assert _events(database) == ["remove"]
    with transaction(database, read_only=True) as connection:
        assert len(reviews.votes(connection, found.id)) == 1
        assert len(decisions.of_flags(connection, [one])[one]) == 1
        done = [e.action for e in audit.read(connection, limit=9) if "review" in e.subject]
    assert done == ["review.vote", "review.claim"]


def test_of_two_who_disagree_a_lead_without_a_part_settles(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    _decide(database, one, people["eve"])
    look = _next(database, people["bob"])
    found = _vote(database, look, people["bob"], APPROVE)
    assert (found.state, found.outcome) == ("escalated", None)
    assert _next(database, people["cat"]) is None, "no lead"
    assert _next(database, people["eve"]) is None, "she decided it"
    assert _next(database, people["eli"]) == look
    found = _vote(database, look, people["eli"], REMOVE)
    assert (found.state, found.outcome) == ("decided", "remove")
    with transaction(database, read_only=True) as connection:
        assert [each.settles for each in reviews.votes(connection, found.id)] == [False, True]
        assert worklist.one(connection, one).outcome == "remove"
    assert _events(database) == ["remove"]


def test_what_contradicts_an_earlier_decision_of_somebody_else_is_looked_at(
    database: Engine, people: dict[str, Moderator]
) -> None:
    first = flag(database, "a", content="x")
    _decide(database, first, people["ann"], APPROVE, NONE)
    _decide(database, flag(database, "a", content="y"), people["ann"], REMOVE, NONE)
    assert _next(database, people["cat"]) is None, "she changed her own mind"
    _decide(database, flag(database, "a", content="z"), people["bob"], APPROVE, NONE)
    look = _next(database, people["cat"])
    assert look is not None
    with transaction(database, read_only=True) as connection:
        assert reviews.by_id(connection, look).kind == "disagreement"


def test_undoing_takes_the_second_look_with_it_and_deciding_again_brings_it_back(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    made = _decide(database, one, people["ann"])
    with transaction(database) as connection:
        decisions.undo(connection, made, people["ann"], claim_seconds=None, now=NOW)
        assert reviews.of_flag(connection, one) == []
    _decide(database, one, people["ann"], APPROVE)
    with transaction(database) as connection:
        (found,) = reviews.of_flag(connection, one)
    assert (found.kind, found.expected) == ("sample", "approve")


def test_a_flag_is_hidden_from_those_who_may_yet_look_at_it(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one, other = flag(database, "a"), flag(database, "b")
    _decide(database, one, people["ann"])

    def hidden(name: str, now: datetime = LATER) -> dict[int, int | None]:
        with transaction(database, read_only=True) as connection:
            return reviews.hidden_from(connection, people[name], [one, other], now=now)

    assert hidden("ann") == hidden("eve") == hidden("vic") == {}
    assert hidden("bob") == {one: None}
    look = _next(database, people["bob"])
    assert hidden("bob") == {one: look}
    _vote(database, look, people["bob"], APPROVE)
    assert hidden("bob") == {}
    assert hidden("cat") == {one: None}
    assert _next(database, people["eve"]) == look
    assert hidden("eve") == {one: look}, "who settles is as blind"
    _vote(database, look, people["eve"], APPROVE)
    assert hidden("cat") == hidden("eve") == {}


def test_a_sample_that_nobody_took_lapses(database: Engine, people: dict[str, Moderator]) -> None:
    one = flag(database, "a")
    _decide(database, one, people["ann"])
    late = NOW + timedelta(days=8)
    assert _next(database, people["bob"], late) is None
    with transaction(database, read_only=True) as connection:
        assert reviews.hidden_from(connection, people["bob"], [one], now=late) == {}


def test_skipped_and_released_looks_go_to_others(
    database: Engine, people: dict[str, Moderator]
) -> None:
    _decide(database, flag(database, "a"), people["ann"])
    look = _next(database, people["bob"])
    assert look is not None
    with pytest.raises(ConfigurationError, match="cannot be escalated"):
        _vote(database, look, people["bob"], Said("escalate"))
    with transaction(database) as connection:
        second_looks.renew(connection, look, people["bob"], claim_seconds=99, now=LATER)
        second_looks.release(connection, look, people["bob"], now=LATER)
    assert _next(database, people["bob"]) == look
    assert _vote(database, look, people["bob"], SKIP).state == "open"
    assert _next(database, people["bob"]) is None
    assert _next(database, people["cat"]) == look


def test_of_many_who_ask_at_once_one_gets_the_look(
    database: Engine, people: dict[str, Moderator]
) -> None:
    for name in ("a", "b"):
        _decide(database, flag(database, name), people["ann"])
    names = ["bob", "cat", "eve", "eli"]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda name: _next(database, people[name]), names))
    assert sorted(each for each in got if each) == sorted({each for each in got if each})
    assert len([each for each in got if each]) == 2


def test_an_appeal_ends_with_a_decision_of_somebody_else_that_the_platform_hears(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection, pytest.raises(FlagConflict, match="nobody has"):
        second_looks.appeal(connection, one, actor=people["eve"])
    first = _decide(database, one, people["ann"], sampling=NONE)
    with transaction(database) as connection:
        asked = second_looks.appeal(
            connection, one, actor=people["eve"], why="a \x00 joke", now=NOW
        )
        again = second_looks.appeal(connection, one, actor=people["eli"], now=NOW)
        assert asked.id == again.id
    assert "joke" in (asked.why or "")
    assert _next(database, people["ann"], NOW) is None
    assert _next(database, people["bob"], NOW) == asked.id
    found = _vote(database, asked.id, people["bob"], APPROVE, NOW)
    assert (found.state, found.outcome) == ("decided", "approve")
    assert _events(database) == ["remove", "approve"]
    with transaction(database) as connection:
        after = worklist.one(connection, one)
        assert (after.state, after.outcome) == ("decided", "approve")
        _, outcome = decisions.of_flags(connection, [one])[one]
        assert (outcome.moderator, outcome.appeal) == ("bob", True)
        assert not outcome.may_be_undone(people["bob"], NOW)
        with pytest.raises(FlagConflict, match="looked at this flag since"):
            decisions.undo(connection, first, people["ann"], claim_seconds=60, now=NOW)
        again = second_looks.appeal(connection, one, actor=people["eve"], now=LATER)
    assert again.decision_id == outcome.id
    assert _next(database, people["bob"]) is None
    assert _next(database, people["cat"]) == again.id


def test_known_answers_are_mixed_in_and_tell_who_was_right(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one = flag(database, "a")
    with transaction(database) as connection, pytest.raises(FlagConflict, match="nobody has"):
        known_answers.mark(connection, one, "remove", people["eve"])
    _decide(database, one, people["ann"], sampling=NONE)
    with transaction(database) as connection:
        with pytest.raises(ConfigurationError, match="not 'skip'"):
            known_answers.mark(connection, one, "skip", people["eve"])
        known_answers.mark(connection, one, "remove", people["eve"])
    for name in ("bob", "cat", "ann", "eve"):
        assert _next(database, people[name], known_share=0.0) is None
    assert _next(database, people["ann"], known_share=1.0) is None, "she decided it"
    assert _next(database, people["eve"], known_share=1.0) is None, "she marked it"
    for name, said in (("bob", REMOVE), ("cat", APPROVE)):
        look = _next(database, people[name], known_share=1.0)
        with transaction(database, read_only=True) as connection:
            assert reviews.hidden_from(connection, people[name], [one], now=LATER) == {one: look}
            assert reviews.of_flag(connection, one) == [], "it is told to nobody"
        assert _vote(database, look, people[name], said).state == "decided"
        assert _next(database, people[name], known_share=1.0) is None, "each is asked once"
    assert _events(database) == ["remove"]
    with transaction(database) as connection:
        rates = fairness.hit_rates(connection, since=NOW)
        assert [(r.moderator, r.hits, r.answered) for r in rates] == [("bob", 1, 1), ("cat", 0, 1)]
        known_answers.mark(connection, one, "", people["eve"])
        assert known_answers.of_flag(connection, one) is None
        assert known_answers.lessons(connection, people["cat"], limit=9) == [], "it was withdrawn"
    assert _next(database, people["eli"], known_share=1.0) is None


def test_who_missed_a_known_answer_learns_it_and_nobody_else_does(
    database: Engine, people: dict[str, Moderator]
) -> None:
    one, two = flag(database, "a"), flag(database, "b")
    for number, why in ((one, " because of its second word "), (two, "")):
        _decide(database, number, people["ann"], sampling=NONE)
        with transaction(database) as connection:
            known_answers.mark(connection, number, "remove", people["eve"], why=why)
    post_of = {}
    for name, said in (("bob", REMOVE), ("cat", APPROVE), ("eli", Said("skip"))):
        for _ in range(2):
            look = _next(database, people[name], known_share=1.0)
            assert look is not None
            with transaction(database, read_only=True) as connection:
                assert known_answers.lesson(connection, look, people[name]) is None, "not before"
                post_of[look] = worklist.one(connection, reviews.by_id(connection, look).flag_id)
            _vote(database, look, people[name], said)
            with transaction(database, read_only=True) as connection:
                learnt = known_answers.lesson(connection, look, people[name])
                assert (learnt is not None) == (name == "cat")
                assert known_answers.lesson(connection, look, people["ann"]) is None
    with transaction(database, read_only=True) as connection:
        for name in ("bob", "eli", "ann"):
            assert known_answers.lessons(connection, people[name], limit=9) == []
        learnt = known_answers.lessons(connection, people["cat"], limit=9)
    assert {each.post_id: (each.said, each.right, each.why) for each in learnt} == {
        "a": ("approve", "remove", "because of its second word"),
        "b": ("approve", "remove", None),
    }
    assert learnt[0].review_id > learnt[1].review_id, "the last one first"
    assert post_of[learnt[0].review_id].post_id == learnt[0].post_id
    with transaction(database) as connection:
        known_answers.mark(connection, one, "approve", people["eve"], why="I was wrong")
        left = known_answers.lessons(connection, people["cat"], limit=9)
    assert [each.post_id for each in left] == ["b"], "what is right has changed"


def test_agreement_is_of_the_sample_and_of_nothing_else(
    database: Engine, people: dict[str, Moderator]
) -> None:
    spam = Said("remove", reason_code="spam")
    said = [
        (REMOVE, REMOVE),
        (REMOVE, spam),
        (APPROVE, APPROVE),
        (APPROVE, REMOVE),
        (APPROVE, APPROVE),
    ]
    for number, (first, second) in enumerate(said):
        one = flag(database, f"p{number}", queue="sarcasm" if number < 2 else "negative")
        # The same pair, in both orders.
        who, other = ("ann", "bob") if number % 2 else ("bob", "ann")
        _decide(database, one, people[who], first)
        _vote(database, _next(database, people[other]), people[other], second)
    _vote(database, _next(database, people["eve"]), people["eve"], APPROVE)
    disputed = flag(database, "p0", content="again")
    _decide(database, disputed, people["cat"], APPROVE, NONE)
    _vote(database, _next(database, people["eve"]), people["eve"], REMOVE)
    with transaction(database, read_only=True) as connection:
        found = fairness.agreement(connection, since=NOW)
        assert fairness.agreement(connection, since=LATER + timedelta(1)).looks == 0
    assert (found.looks, found.same) == (5, 4)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.looks, pair.same) == ("ann", "bob", 5, 4)
    # observed 4/5; removed by ann 3 of 5 and by bob 2 of 5, or the other way: expected 12/25
    assert pair.kappa == pytest.approx((4 / 5 - 12 / 25) / (1 - 12 / 25))
    queues = {each.name: (each.looks, each.same, each.alpha) for each in found.queues}
    assert queues["sarcasm"] == (2, 2, None)
    # six values, one removal: 1 - (6 - 1) * 2 / (36 - 26)
    assert queues["negative"] == (3, 2, pytest.approx(0.0))
    codes = {each.name: (each.looks, each.same) for each in found.reasons}
    assert codes == {"hate": (3, 1), "spam": (1, 0)}


def test_erasure_reaches_second_looks(database: Engine, people: dict[str, Moderator]) -> None:
    one = flag(database, "a")
    _decide(database, one, people["ann"])
    _vote(database, _next(database, people["bob"]), people["bob"], Said("approve", note="a quote"))
    with transaction(database) as connection:
        asked = second_looks.appeal(connection, one, actor=people["eve"], why="I wrote a quote")
        known_answers.mark(connection, one, "remove", people["eve"], why="it says a quote")
        erasure.erase(connection, "post", "a", requested_by="test")
        for look in reviews.of_flag(connection, one):
            assert (look.state, look.claimed_by) == ("decided", None)
        assert reviews.by_id(connection, asked.id).why == erasure.ERASED
        (vote,) = reviews.votes(connection, asked.id - 1)
        assert vote.note == erasure.ERASED
        assert known_answers.of_flag(connection, one) is None
        assert connection.execute(select(tables.known_answers.c.why)).scalar() == erasure.ERASED
    assert _next(database, people["eli"], known_share=1.0) is None
    with transaction(database, read_only=True) as connection:
        assert claims.held_by(connection, people["eli"], now=LATER) == []
