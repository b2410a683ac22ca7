"""Every number of the page *Insight*, counted again from the rows of the tables in plain Python.

Nothing here asks `storage.reports.insight` or `storage.reviews.fairness` how a thing is counted:
the definitions are written anew, in loops over rows, and the page has to agree with them.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from deadpan.core.errors import FlagConflict
from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.keeping import erasure
from storage.people.moderators import Moderator
from storage.reports import insight
from storage.reviews import fairness, known_answers, second_looks
from storage.tables import review_votes, reviews
from tests import postgres
from tests.console_data import flag, moderator, reason
from tests.console_server import ConsoleServer

database_url = postgres.database_url

NOW = datetime.now(UTC)
RULES = ("negative", "sarcastic", "unread")
QUEUES = ("negative", "sarcastic")


@dataclass
class Rows:
    """Everything that was written, as it stands in the tables."""

    flags: Sequence[Any]
    decisions: Sequence[Any]
    reviews: Sequence[Any]
    votes: Sequence[Any]
    names: dict[int, str]

    @classmethod
    def of(cls, database: Engine) -> Rows:
        with transaction(database, read_only=True) as connection:
            flags, made, looks, votes, people = (
                connection.execute(select(table)).all()
                for table in (
                    tables.flags,
                    tables.decisions,
                    reviews,
                    review_votes,
                    tables.moderators,
                )
            )
        return cls(flags, made, looks, votes, {each.id: each.name for each in people})

    def decided(self, since: datetime) -> list[Any]:
        return [f for f in self.flags if f.outcome is not None and f.closed_at >= since]

    def standing(self, since: datetime) -> list[Any]:
        """Decisions that nobody took back."""
        undone = {each.undoes for each in self.decisions}
        return [
            each
            for each in self.decisions
            if each.id not in undone and each.action != "undo" and each.created_at >= since
        ]


def _history(database: Engine, people: Sequence[Moderator], seed: int) -> None:
    """Weeks of work: decisions, undoings, skips, escalations, second looks, appeals, erasures."""
    chance = random.Random(seed)
    now = NOW - timedelta(days=45)
    numbers: list[int] = []
    for step in range(260):
        now += timedelta(hours=chance.uniform(0, 8))
        if now > NOW - timedelta(minutes=30):
            break
        who = chance.choice(people)
        what = chance.choices(
            ("open", "claim", "decide", "undo", "look", "appeal", "known", "erase"),
            (8, 3, 10, 4, 6, 1, 1, 0.6),
        )[0]
        if what == "open" or not numbers:
            fired = chance.sample(RULES, chance.randint(1, 2))
            numbers.append(
                flag(
                    database,
                    f"p{step}",
                    author=f"author-{chance.randrange(12)}",
                    queue=chance.choice(QUEUES),
                    reasons=[reason(name, "sentiment.negative", 0.6, 0.8) for name in fired],
                    now=now,
                )
            )
            continue
        number = chance.choice(numbers)
        with suppress(FlagConflict), transaction(database) as connection:
            if what == "claim":
                claims.claim(connection, number, who, claim_seconds=60, now=now)
                now += timedelta(seconds=chance.randint(1, 50))
            if what in ("claim", "decide", "undo"):
                action = chance.choice(("approve", "remove", "remove", "escalate", "skip"))
                code = chance.choice(("hate", "spam")) if action == "remove" else None
                said = Said(action, reason_code=code)
                made = decisions.decide(
                    connection, number, who, said, now=now, second_looks=Sampling(0.6, "key")
                )
            if what == "undo":
                decisions.undo(connection, made.id, who, claim_seconds=None, now=now)
            if what == "look":
                look = second_looks.take_next(
                    connection, who, claim_seconds=60, known_share=0.3, now=now
                )
                if look is not None:
                    action = chance.choice(("approve", "remove", "remove", "skip"))
                    second_looks.vote(connection, look, who, Said(action), now=now)
            if what == "appeal":
                second_looks.appeal(connection, number, actor=who, now=now)
            if what == "known" and who.is_lead:
                known_answers.mark(connection, number, "remove", who, now=now)
            if what == "erase":
                author = f"author-{chance.randrange(12)}"
                erasure.erase(connection, "author", author, requested_by="test", now=now)


def _precision(rows: Rows, since: datetime) -> dict[str, tuple[int, int]]:
    decided, removed = Counter[str](), Counter[str]()
    for each in rows.decided(since):
        for why in each.reasons:
            decided[why["rule"]] += 1
            removed[why["rule"]] += each.outcome == "remove"
    return {rule: (removed[rule], decided[rule]) for rule in sorted(decided)}


def _waits(rows: Rows, since: datetime) -> list[int]:
    ends = (60, 600, 3600, 8 * 3600, 86_400, 3 * 86_400)
    groups = [0] * 7
    for each in rows.decided(since):
        waited = round((each.closed_at - each.opened_at).total_seconds(), 3)
        groups[sum(waited > end for end in ends)] += 1
    return groups


def _loads(rows: Rows, since: datetime) -> dict[str, tuple[int, int, int, float | None]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, list[float]] = defaultdict(list)
    for each in rows.standing(since):
        name = rows.names[each.moderator_id]
        counts[name][each.action] += 1
        if each.action in ("approve", "remove") and each.seconds_taken is not None:
            seconds[name].append(each.seconds_taken)
    return {
        name: (
            done["approve"] + done["remove"],
            done["escalate"],
            done["skip"],
            sum(seconds[name]) / len(seconds[name]) if seconds[name] else None,
        )
        for name, done in counts.items()
    }


def _days(rows: Rows) -> list[tuple[int, int]]:
    today = NOW.date()
    return [
        (
            sum(each.opened_at.date() == day for each in rows.flags),
            sum(each.outcome is not None and each.closed_at.date() == day for each in rows.flags),
        )
        for day in (today - timedelta(days=back) for back in range(13, -1, -1))
    ]


def _looks(rows: Rows, since: datetime) -> list[tuple[str, str, str, str, str]]:
    """Queue, who decided, who looked, and what each of them said, for the sample."""
    look_of = {each.id: each for each in rows.reviews}
    decision_of = {each.id: each for each in rows.decisions}
    queue_of = {each.id: each.queue for each in rows.flags}
    found = []
    for vote in rows.votes:
        look = look_of[vote.review_id]
        plain = vote.action != "skip" and not vote.settles and vote.created_at >= since
        if look.kind == "sample" and plain:
            made = decision_of[look.decision_id]
            names = rows.names[made.moderator_id], rows.names[vote.moderator_id]
            found.append((queue_of[look.flag_id], *names, made.action, vote.action))
    return found


def _hits(rows: Rows, since: datetime) -> dict[str, tuple[int, int]]:
    look_of = {each.id: each for each in rows.reviews}
    right, of = Counter[str](), Counter[str]()
    for vote in rows.votes:
        look = look_of[vote.review_id]
        if look.kind == "known" and vote.action != "skip" and vote.created_at >= since:
            name = rows.names[vote.moderator_id]
            of[name] += 1
            right[name] += vote.action == look.expected
    return {name: (right[name], of[name]) for name in of}


def _by_name(rows: Iterable[Any], *fields: str) -> dict[str, tuple[Any, ...]]:
    return {row.moderator: tuple(getattr(row, field) for field in fields) for row in rows}


@pytest.mark.parametrize("seed", range(4))
def test_every_number_of_insight_is_what_the_tables_say(database: Engine, seed: int) -> None:
    with transaction(database) as connection:
        people = [moderator(connection, name) for name in ("ann", "bob", "cat")]
        people.append(moderator(connection, "eve", "lead"))
    _history(database, people, seed)
    rows = Rows.of(database)
    assert any(each.state == "decided" and each.outcome is None for each in rows.flags), "an erased"
    assert any(each.action == "undo" for each in rows.decisions)
    for span in (7, 30, 90):
        since = NOW - timedelta(days=span)
        with transaction(database, read_only=True) as connection:
            precision = insight.precision(connection, since=since)
            waits = insight.waits(connection, since=since)
            loads = insight.loads(connection, since=since)
            days = insight.days(connection, until=NOW)
            agreement = fairness.agreement(connection, since=since)
            hits = fairness.hit_rates(connection, since=since)
        assert {p.rule: (p.upheld, p.decided) for p in precision} == _precision(rows, since)
        assert waits == _waits(rows, since)
        expected = _loads(rows, since)
        found = _by_name(loads, "decided", "escalated", "skipped", "mean_seconds")
        assert found.keys() == expected.keys()
        for name, numbers in expected.items():
            assert found[name] == pytest.approx(numbers), name
        assert [(day.opened, day.decided) for day in days] == _days(rows)
        looks = _looks(rows, since)
        assert agreement.looks == len(looks)
        assert agreement.same == sum(one == other for *_, one, other in looks)
        pairs = Counter(tuple(sorted(look[1:3])) for look in looks)
        assert {(p.first, p.second): p.looks for p in agreement.pairs} == pairs
        queues = Counter(look[0] for look in looks)
        assert {each.name: each.looks for each in agreement.queues} == queues
        assert _by_name(hits, "hits", "answered") == _hits(rows, since)


def test_flags_that_an_erasure_closed_count_neither_for_nor_against_a_rule(
    console: ConsoleServer,
) -> None:
    lead, database = console.client("eve", "lead"), console.database
    for number in range(10):
        one = flag(database, f"p{number}", author="ann")
        said = {"action": "remove", "reason_code": "hate"} if number < 3 else {"action": "approve"}
        assert lead.post(f"/flags/{one}/decide", said).status_code == 303
    for number in range(4):
        flag(database, f"q{number}", author="to be erased")
    before = lead.get("/insight").text
    with transaction(database) as connection:
        erasure.erase(connection, "author", "to be erased", requested_by="test")
    console.app.state.insight._kept.clear()
    after = lead.get("/insight").text
    for page in (before, after):
        assert "Decided in 30 days</dt><dd>10<" in page
        assert '<td class="n">3</td><td class="n">10</td>' in page, "3 of 10"
    assert "Open</dt><dd>4<" in before
    assert "Open</dt><dd>0<" in after


def test_numbers_of_before_lunch_are_shown_to_nobody(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead, cache = console.client("eve", "lead"), console.app.state.insight
    one = flag(console.database, "p1")
    assert "Open</dt><dd>1<" in lead.get("/insight").text
    lead.post(f"/flags/{one}/decide", {"action": "approve"})
    counted_at, numbers = cache._kept[30]
    cache._kept[30] = counted_at - 540, numbers
    page = lead.get("/insight").text
    assert "Open</dt><dd>0<" in page
    assert "Decided in 30 days</dt><dd>1<" in page
    # Where counting takes long, old numbers are not shown in the meantime either.
    monkeypatch.setattr(cache, "patience_seconds", 0)
    counted_at, numbers = cache._kept[30]
    cache._kept[30] = counted_at - 540, numbers
    assert "Counting…" in lead.get("/insight").text
