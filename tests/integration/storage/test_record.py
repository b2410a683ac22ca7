"""Recording what became of a chunk: once, whoever does it and however often."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage import tables
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, NewFlag, Recorded
from tests.integration.tasks.recording import FLAG, NOW, record_in, rows_of, verdict_of


def _close_flags(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(tables.flags.update().values(state="decided", closed_at=NOW))


def test_a_verdict_is_kept_as_it_was(database: Engine) -> None:
    recorded = record_in(database, verdict_of(flag=FLAG), now=NOW)
    with transaction(database, read_only=True) as connection:
        verdict = queries.latest_verdict(connection, "p1")
        (flag,) = worklist.page(connection, Filter(), limit=10)
    assert verdict == tables.Verdict(
        id=recorded.verdict_ids["p1"],
        post_id="p1",
        author="ann",
        content_hash="a" * 64,
        model_version="mini-1",
        calibration_version="cal-1",
        policy_version="policy-1",
        negative=0.1,
        neutral=0.2,
        positive=0.7,
        sarcasm=1 / 3,
        offensive=0.75,
        hateful=0.125,
        text_alone={"negative": 0.0, "neutral": 0.0, "positive": 1.0, "sarcasm": 0.25},
        image_alone=None,
        degraded=[{"image": 1, "problem": "404"}],
        unread=[{"what": "text", "problem": "cut"}],
        language="tr",
        unlearnt=True,
        evidence=[{"kind": "text", "sha256": "e" * 64}],
        timings={"fetch": 0.5},
        posted_at=NOW,
        created_at=NOW,
        explanation={"score": "sarcasm", "words": [{"word": "great", "effect": 0.25}]},
    )
    assert flag.verdict == verdict
    assert (flag.id, flag.state, flag.queue) == (recorded.opened_flag_ids["p1"], "open", "review")
    assert (flag.priority, flag.row_version, flag.due_at) == (10, 1, NOW + timedelta(hours=4))
    assert flag.reasons == [{"rule": "sarcasm", "score": 0.97}]


def test_the_same_chunk_twice_leaves_the_same_rows(database: Engine) -> None:
    chunk: dict[str, Any] = {
        "dead_letters": [NewDeadLetter("p3", "fetch", "boom", 5)],
        "gone": [GonePost("p4", "404")],
        "evidence": [NewEvidence("e" * 64, "text", "text/plain", 12)],
        "now": NOW,
    }
    first = record_in(database, verdict_of(flag=FLAG), verdict_of("p2"), **chunk)
    rows = rows_of(database)
    second = record_in(database, verdict_of(flag=FLAG), verdict_of("p2"), **chunk)
    assert rows_of(database) == rows
    assert [len(table) for table in rows.values()].count(0) == 0
    assert set(first.verdict_ids) == {"p1", "p2"}
    assert set(first.opened_flag_ids) == {"p1"}
    assert (first.dead_letters, first.gone, first.evidence) == (1, 1, 1)
    assert (second.verdict_ids, second.opened_flag_ids, second.updated_flag_ids) == ({}, {}, {})
    assert second.evidence == 0


def test_an_empty_chunk_is_nothing(database: Engine) -> None:
    assert record_in(database) == Recorded({}, {}, {}, 0, 0, 0)


def test_a_chunk_that_names_a_post_twice_counts_it_once(database: Engine) -> None:
    letters = [NewDeadLetter("d", "fetch", "first", 1), NewDeadLetter("d", "fetch", "last", 2)]
    recorded = record_in(
        database,
        verdict_of(flag=FLAG),
        verdict_of(flag=FLAG),
        verdict_of(content="b", flag=FLAG),
        dead_letters=letters,
        gone=[GonePost("g", "404"), GonePost("g", "410")],
        evidence=[NewEvidence("e" * 64, "text", "text/plain", 12)] * 2,
    )
    rows = rows_of(database)
    assert {name: len(table) for name, table in rows.items()} == {
        "verdicts": 2,
        "flags": 1,
        "dead_letters": 1,
        "gone_posts": 1,
        "evidence": 1,
    }
    assert (recorded.dead_letters, recorded.gone, recorded.evidence) == (1, 1, 1)
    assert "last" in rows["dead_letters"][0]


def test_a_closed_flag_is_not_reopened_by_doing_the_chunk_again(database: Engine) -> None:
    record_in(database, verdict_of(flag=FLAG))
    _close_flags(database)
    again = record_in(database, verdict_of(flag=FLAG))
    assert again.opened_flag_ids == {}
    with transaction(database, read_only=True) as connection:
        assert queries.counts(connection).flags == {
            "open": 0,
            "claimed": 0,
            "escalated": 0,
            "decided": 1,
        }


def test_changed_content_opens_a_flag_again(database: Engine) -> None:
    record_in(database, verdict_of(flag=FLAG))
    _close_flags(database)
    again = record_in(database, verdict_of(content="b", flag=FLAG))
    assert set(again.opened_flag_ids) == {"p1"}
    with transaction(database, read_only=True) as connection:
        (flag,) = worklist.page(connection, Filter(), limit=10)
    assert flag.verdict.content_hash == "b" * 64


@pytest.mark.parametrize("state", tables.UNCLOSED_STATES)
@pytest.mark.parametrize(("priority", "kept"), [(3, 10), (30, 30)])
def test_a_new_verdict_renews_the_flag_that_waits(
    database: Engine, state: str, priority: int, kept: int
) -> None:
    first = record_in(database, verdict_of(flag=FLAG), now=NOW)
    with transaction(database) as connection:
        connection.execute(tables.flags.update().values(state=state))
    newer = NewFlag("urgent", priority, [{"rule": "other"}], NOW + timedelta(hours=9))
    second = record_in(database, verdict_of(content="b", flag=newer), now=NOW + timedelta(hours=1))
    assert second.opened_flag_ids == {}
    assert second.updated_flag_ids == first.opened_flag_ids
    with transaction(database, read_only=True) as connection:
        (flag,) = worklist.page(connection, Filter(), limit=10)
    assert (flag.state, flag.queue, flag.priority, flag.row_version) == (state, "urgent", kept, 2)
    assert flag.verdict_id == second.verdict_ids["p1"]
    assert flag.reasons == [{"rule": "other"}]
    assert flag.opened_at == NOW
    assert flag.due_at == NOW + timedelta(hours=4)


@pytest.mark.parametrize("hours", [(None, None), (None, 2), (2, None), (2, 1), (1, 2)])
def test_the_earlier_due_time_stays(database: Engine, hours: tuple[int | None, int | None]) -> None:
    due = [None if each is None else NOW + timedelta(hours=each) for each in hours]
    record_in(database, verdict_of(flag=replace(FLAG, due_at=due[0])))
    record_in(database, verdict_of(content="b", flag=replace(FLAG, due_at=due[1])))
    with transaction(database, read_only=True) as connection:
        (flag,) = worklist.page(connection, Filter(), limit=10)
    assert flag.due_at == min((each for each in due if each is not None), default=None)


def test_a_dead_letter_is_updated_until_it_is_replayed(database: Engine) -> None:
    record_in(database, dead_letters=[NewDeadLetter("p", "fetch", "once", 1)], now=NOW)
    later = NOW + timedelta(minutes=1)
    record_in(database, dead_letters=[NewDeadLetter("p", "record", "twice", 2)], now=later)
    with transaction(database) as connection:
        (letter,) = queries.dead_letters(connection, limit=10)
        assert (letter.stage, letter.error, letter.attempts) == ("record", "twice", 2)
        assert (letter.created_at, letter.updated_at) == (NOW, later)
        queries.mark_replayed(connection, [letter.id])
    record_in(database, dead_letters=[NewDeadLetter("p", "fetch", "anew", 1)])
    with transaction(database, read_only=True) as connection:
        assert len(queries.dead_letters(connection, limit=10, replayed=True)) == 2
        assert queries.counts(connection).dead_letters == 1


def test_a_gone_post_keeps_when_it_was_first_and_last_seen_gone(database: Engine) -> None:
    later = NOW + timedelta(days=1)
    record_in(database, gone=[GonePost("p", "404")], now=NOW)
    record_in(database, gone=[GonePost("p", "410")], now=later)
    (row,) = rows_of(database)["gone_posts"]
    assert row[1:] == ("p", "410", NOW, later)


def test_nul_and_lone_surrogates_do_no_harm(database: Engine) -> None:
    bad = "a\x00b\udc80"
    record_in(
        database,
        verdict_of(
            author=bad,
            degraded=[{"image": 0, "location": bad, "problem": bad * 5000}],
            flag=NewFlag("review", 1, [{"rule": bad, bad: [bad]}]),
        ),
        dead_letters=[NewDeadLetter(bad, bad, bad * 5000, 1)],
        gone=[GonePost("g", bad)],
        evidence=[NewEvidence("e" * 64, "image", bad, 1)],
    )
    clean = "a\\x00b\\udc80"
    with transaction(database, read_only=True) as connection:
        verdict = queries.latest_verdict(connection, "p1")
        (letter,) = queries.dead_letters(connection, limit=1)
        (flag,) = worklist.page(connection, Filter(), limit=1)
        assert queries.outcome_of(connection, [bad]) == {bad: "dead_letter"}
    assert verdict is not None
    assert verdict.author == clean
    assert verdict.degraded[0]["location"] == clean
    assert len(verdict.degraded[0]["problem"]) == 2000
    assert flag.reasons == [{"rule": clean, clean: [clean]}]
    assert (letter.post_id, letter.stage, len(letter.error)) == (clean, clean, 4000)


def test_the_widest_post_ids_fit(database: Engine) -> None:
    noise = random.Random(1)
    # Noise, for PostgreSQL would compress a repeated sign and so fit it into its index.
    wide = "".join(chr(noise.randrange(0x10000, 0x10FFFF)) for _ in range(3000))
    record_in(
        database,
        verdict_of(wide[:64]),
        dead_letters=[NewDeadLetter(wide, "intake", "too long", 1)],
        gone=[GonePost(wide[:64], "404")],
    )
    with transaction(database, read_only=True) as connection:
        assert queries.outcome_of(connection, [wide]) == {wide: "dead_letter"}


def test_a_large_chunk_is_written_whole(database: Engine) -> None:
    verdicts = [verdict_of(f"p{number}", flag=FLAG) for number in range(3000)]
    recorded = record_in(database, *verdicts)
    assert len(recorded.verdict_ids) == len(recorded.opened_flag_ids) == 3000
    with transaction(database, read_only=True) as connection:
        found = queries.verdicts_of(connection, recorded.verdict_ids)
    assert {post_id: each.id for post_id, each in found.items()} == recorded.verdict_ids


def test_the_database_itself_refuses_a_second_waiting_flag(database: Engine) -> None:
    record_in(database, verdict_of(flag=FLAG))
    with transaction(database) as connection:
        copy = text(
            "INSERT INTO flags"
            " (post_id, verdict_id, state, queue, priority, reasons, row_version, opened_at)"
            " SELECT post_id, verdict_id, 'claimed', queue, priority, reasons, 1, opened_at"
            " FROM flags WHERE state = 'open' ON CONFLICT DO NOTHING"
        )
        assert connection.execute(copy).rowcount == 0
