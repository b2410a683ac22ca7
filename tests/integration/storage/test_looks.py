"""Looks at posts that no rule flagged, stored among flags and counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select

from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.worklist import Filter
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, Recorded
from storage.reports import recall
from tests.console_data import flag, moderator, reason, verdict

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def look(
    database: Engine,
    post_id: str,
    *,
    inclusion: float = 0.5,
    content: str = "a",
    now: datetime = NOW,
) -> Recorded:
    """Records a post that no rule flagged and that was drawn."""
    drawn = NewFlag("negative", 30, [], text="words", inclusion=inclusion, blind=True)
    judged = verdict(post_id, content=content, flagged=False, negative=0.1)
    object.__setattr__(judged, "flag", drawn)
    with transaction(database) as connection:
        return record(connection, verdicts=[judged], report="all", now=now)


def test_a_post_is_looked_at_once_whatever_it_is_judged_by(database: Engine) -> None:
    assert list(look(database, "p").opened_flag_ids) == ["p"]
    assert not look(database, "p").opened_flag_ids  # after a crash
    assert not look(database, "p", content="b").opened_flag_ids  # edited
    with transaction(database) as connection:
        ann = moderator(connection, "ann")
        number = claims.claim_next(connection, ann, claim_seconds=60)
        assert number is not None
        decisions.decide(connection, number, ann, Said("approve"))
    assert not look(database, "p", content="c").opened_flag_ids


def test_a_look_never_replaces_a_flag_and_a_flag_replaces_a_look(database: Engine) -> None:
    waiting = flag(database, "flagged", now=NOW)
    assert not look(database, "flagged", content="b").opened_flag_ids
    number = look(database, "drawn").opened_flag_ids["drawn"]
    assert flag(database, "drawn", content="b", now=NOW) == number
    with transaction(database, read_only=True) as connection:
        for each in (waiting, number):
            found = worklist.one(connection, each)
            assert found.reasons
            assert found.inclusion is None
            assert not found.blind


def test_the_platform_is_not_told_that_a_post_was_drawn(database: Engine) -> None:
    look(database, "p")
    with transaction(database, read_only=True) as connection:
        (payload,) = connection.execute(select(tables.outbox.c.payload)).scalars()
    assert payload["flag"] is None


def test_looks_can_be_left_out_and_are_not_found_by_what_would_tell_why(
    database: Engine,
) -> None:
    number = look(database, "drawn").opened_flag_ids["drawn"]
    other = flag(database, "flagged", now=NOW + timedelta(hours=1))
    with transaction(database) as connection:

        def found(**wanted: object) -> list[int]:
            return [each.id for each in worklist.page(connection, Filter(**wanted), limit=9)]  # type: ignore[arg-type]

        assert found() == [number, other]
        assert found(looks=False) == [other]
        assert found(negative=0.05) == [number, other]
        assert found(negative=0.05, blind=False) == [other]
        ann = moderator(connection, "ann")
        assert claims.claim_next(connection, ann, claim_seconds=60, looks=False) == other


def test_what_nobody_took_within_a_week_is_closed_without_an_answer(database: Engine) -> None:
    old = look(database, "old").opened_flag_ids["old"]
    new = look(database, "new", now=NOW + timedelta(days=1)).opened_flag_ids["new"]
    real = flag(database, "real", now=NOW)
    with transaction(database) as connection:
        assert claims.let_looks_lapse(connection, now=NOW + timedelta(days=7)) == 1
        assert worklist.one(connection, old).state == "decided"
        assert worklist.one(connection, old).outcome is None
        assert {worklist.one(connection, each).state for each in (new, real)} == {"open"}


def test_recall_is_counted_from_what_is_stored_between_the_first_look_and_the_last(
    database: Engine,
) -> None:
    hour = timedelta(hours=1)
    for n in range(6):
        look(database, f"look {n}", inclusion=0.25, now=NOW + n * hour)
    both = [reason("hateful", "hateful", 0.5, 0.8), reason("negative", "negative", 0.6, 0.8)]
    for n in range(5):
        flag(database, f"both {n}", reasons=both, queue="hateful", now=NOW + 2 * hour)
    flag(database, "one", now=NOW + 3 * hour)
    flag(database, "too early", now=NOW - hour)
    flag(database, "too late", now=NOW + 6 * hour)
    removed = {"look 1", "both 0", "both 1", "both 2", "too early", "too late"}
    left = {"look 5", "one"}
    with transaction(database) as connection:
        ann = moderator(connection, "ann")
        while (number := claims.claim_next(connection, ann, claim_seconds=60)) is not None:
            post_id = worklist.one(connection, number).post_id
            action = "remove" if post_id in removed else "skip" if post_id in left else "approve"
            decisions.decide(connection, number, ann, Said(action))  # type: ignore[arg-type]
        since, until = NOW - 2 * hour, NOW + 9 * hour
        measured = recall.measured(connection, since=since, until=until)
        assert recall.measured(connection, since=since, until=NOW) is None
    assert measured is not None
    assert (measured.since, measured.until) == (NOW, NOW + 5 * hour)
    rates = measured.rates
    # the first look marks where counting begins
    assert (rates.looks, rates.answered, rates.found) == (5, 4, 1)
    assert rates.missed is not None
    assert rates.missed.value == 5
    every = rates.everything
    assert (every.flags, every.decided, every.removed) == (6, 5, 3)
    assert rates.rules["hateful"].removed == rates.rules["negative"].removed == 3
    assert rates.rules["negative"].flags == 6
    assert rates.queues["hateful"].flags == 5
