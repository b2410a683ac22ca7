"""The named reads, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from storage import tables
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.judging.outcomes import record
from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, NewFlag, NewVerdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _verdict(
    post_id: str, content: str = "a", policy: str = "policy-1", flag: NewFlag | None = None
) -> NewVerdict:
    return NewVerdict(post_id, content * 64, "m", "c", policy, 0.1, 0.2, 0.7, 0.3, flag=flag)


def test_the_latest_verdict_is_the_one_written_last(database: Engine) -> None:
    with transaction(database) as connection:
        # Another worker's clock may be behind.
        record(connection, verdicts=[_verdict("p", "a"), _verdict("q")], now=NOW)
        record(connection, verdicts=[_verdict("p", "b")], now=NOW - timedelta(hours=1))
        found = queries.verdicts_of(connection, ["p", "q", "unknown"])
        assert {post_id: each.content_hash[0] for post_id, each in found.items()} == {
            "p": "b",
            "q": "a",
        }
        assert found["p"].sentiment == "positive"
        assert queries.latest_verdict(connection, "unknown") is None


def test_the_kind_of_evidence_is_known_by_its_sha256(database: Engine) -> None:
    with transaction(database) as connection:
        image = NewEvidence("e" * 64, "image", "image/webp", 1)
        record(connection, verdicts=[], evidence=[image])
        assert queries.evidence_kind(connection, "e" * 64) == "image"
        assert queries.evidence_kind(connection, "f" * 64) is None


def test_posts_already_judged_are_known_by_content_and_all_versions(database: Engine) -> None:
    with transaction(database) as connection:
        record(connection, verdicts=[_verdict("p"), _verdict("q", "b")])

        def known(
            keys: list[tuple[str, str]],
            model: str = "m",
            calibration: str = "c",
            policy: str = "policy-1",
        ) -> set[tuple[str, str]]:
            return queries.already_judged(
                connection,
                keys,
                model_version=model,
                calibration_version=calibration,
                policy_version=policy,
            )

        keys = [("p", "a" * 64), ("q", "a" * 64), ("unknown", "a" * 64)]
        assert known(keys) == {("p", "a" * 64)}
        assert known(keys, policy="policy-2") == set()
        assert known(keys, model="m2") == set()
        assert known(keys, calibration="c2") == set()
        assert known([]) == set()


def test_flags_come_by_priority_then_age_page_by_page(database: Engine) -> None:
    with transaction(database) as connection:
        for number, priority in enumerate([1, 5, 5, 9, 1]):
            flag = NewFlag("even" if number % 2 == 0 else "odd", priority, [])
            record(
                connection,
                verdicts=[_verdict(f"p{number}", flag=flag)],
                now=NOW - timedelta(hours=number),
            )
        # The same moment: the id decides.
        twins = [_verdict(f"twin{n}", flag=NewFlag("even", 1, [])) for n in range(2)]
        record(connection, verdicts=twins, now=NOW - timedelta(hours=4))
    expected = ["p3", "p2", "p1", "p4", "twin0", "twin1", "p0"]
    with transaction(database, read_only=True) as connection:
        whole = worklist.page(connection, Filter(), limit=100)
        assert [flag.post_id for flag in whole] == expected
        pages: list[str] = []
        after = None
        while page := worklist.page(connection, Filter(), limit=2, after=after):
            pages += [flag.post_id for flag in page]
            after = page[-1].position
        assert pages == expected
        odd = worklist.page(connection, Filter(queue="odd"), limit=100)
        assert [flag.post_id for flag in odd] == ["p3", "p1"]
        assert worklist.page(connection, Filter(("escalated",)), limit=100) == []
        assert all(flag.verdict.post_id == flag.post_id for flag in whole)


def test_counts_name_every_state(database: Engine) -> None:
    with transaction(database) as connection:
        empty = queries.counts(connection)
        flag = NewFlag("review", 1, [])
        record(
            connection,
            verdicts=[_verdict("p", flag=flag), _verdict("q", flag=flag), _verdict("r")],
            dead_letters=[NewDeadLetter("d", "fetch", "x", 1)],
            gone=[GonePost("g", "404")],
        )
        connection.execute(
            tables.flags.update().where(tables.flags.c.post_id == "q").values(state="claimed")
        )
        counts = queries.counts(connection)
    nothing = {"open": 0, "claimed": 0, "escalated": 0, "decided": 0}
    assert empty == queries.Counts(verdicts=0, flags=nothing, dead_letters=0, gone=0)
    assert counts == queries.Counts(
        verdicts=3, flags=nothing | {"open": 1, "claimed": 1}, dead_letters=1, gone=1
    )


def test_dead_letters_are_read_in_pages_and_marked_once(database: Engine) -> None:
    with transaction(database) as connection:
        letters = [NewDeadLetter(f"p{number}", "fetch", "x", 1) for number in range(5)]
        record(connection, verdicts=[], dead_letters=letters)
        first = queries.dead_letters(connection, limit=3)
        rest = queries.dead_letters(connection, limit=3, before_id=first[-1].id)
        assert [each.post_id for each in first + rest] == ["p4", "p3", "p2", "p1", "p0"]
        ids = [first[1].id, first[0].id, 10_000]
        marked = queries.mark_replayed(connection, ids, now=NOW)
        assert [(each.post_id, each.replayed_at) for each in marked] == [("p3", NOW), ("p4", NOW)]
        assert queries.mark_replayed(connection, ids) == []
        assert queries.mark_replayed(connection, []) == []
        assert queries.dead_letter(connection, first[0].id) == marked[1]
        assert queries.dead_letter(connection, 10_000) is None
        assert len(queries.dead_letters(connection, limit=10)) == 3
        assert len(queries.dead_letters(connection, limit=10, replayed=True)) == 5


def test_the_outcome_of_a_post_is_what_became_of_it_last(database: Engine) -> None:
    later = NOW + timedelta(hours=1)
    with transaction(database) as connection:
        record(
            connection,
            verdicts=[_verdict("judged"), _verdict("judged then gone")],
            dead_letters=[NewDeadLetter("failed then judged", "fetch", "x", 1)],
            gone=[GonePost("gone", "404"), GonePost("gone then failed", "404")],
            now=NOW,
        )
        record(
            connection,
            verdicts=[_verdict("failed then judged")],
            dead_letters=[NewDeadLetter("gone then failed", "fetch", "x", 1)],
            gone=[GonePost("judged then gone", "410")],
            now=later,
        )
        asked = [
            "judged",
            "gone",
            "judged then gone",
            "failed then judged",
            "gone then failed",
            "unknown",
        ]
        assert queries.outcome_of(connection, asked) == {
            "judged": "judged",
            "gone": "gone",
            "judged then gone": "gone",
            "failed then judged": "judged",
            "gone then failed": "dead_letter",
        }
        assert queries.outcome_of(connection, asked, since=later) == {
            "judged then gone": "gone",
            "failed then judged": "judged",
            "gone then failed": "dead_letter",
        }


def test_many_post_ids_are_asked_for_at_once(database: Engine) -> None:
    with transaction(database) as connection:
        record(connection, verdicts=[_verdict("p39999")])
        many = [f"p{number}" for number in range(40_000)]
        assert queries.outcome_of(connection, many) == {"p39999": "judged"}
