"""Every number of the page *Insight*, counted again from the rows of the tables in plain Python.

Nothing here asks `storage.reports.insight` or `storage.reviews.fairness` how a thing is counted:
the definitions are written anew, in loops over rows, and the page has to agree with them.
"""

from __future__ import annotations

import html
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
from storage.judging.outcomes import record
from storage.keeping import erasure
from storage.people.moderators import Moderator
from storage.reports import answers, drift, forecast, insight
from storage.reviews import fairness, known_answers, second_looks
from storage.tables import review_votes, reviews
from tests import postgres
from tests.console_data import flag, moderator, reason, verdict
from tests.console_server import ConsoleServer

database_url = postgres.database_url

NOW = datetime.now(UTC)
RULES = ("negative", "sarcastic", "unread")
QUEUES = ("negative", "sarcastic")
LOAD = (
    "decided",
    "escalated",
    "skipped",
    "mean_seconds",
    "hours",
    "quick",
    "negative",
    "hardest_hour",
)
SAID = {
    "negative": lambda each: None if each.sentiment is None else each.sentiment == "negative",
    "sarcasm": lambda each: each.sarcastic,
    "offensive": lambda each: each.offensive,
}


@dataclass
class Rows:
    """Everything that was written, as it stands in the tables."""

    flags: Sequence[Any]
    decisions: Sequence[Any]
    verdicts: Mapping[int, Any]
    reviews: Sequence[Any]
    votes: Sequence[Any]
    names: dict[int, str]

    @classmethod
    def of(cls, database: Engine) -> Rows:
        with transaction(database, read_only=True) as connection:
            flags, made, judged, looks, votes, people = (
                connection.execute(select(table)).all()
                for table in (
                    tables.flags,
                    tables.decisions,
                    tables.verdicts,
                    reviews,
                    review_votes,
                    tables.moderators,
                )
            )
        names = {each.id: each.name for each in people}
        return cls(flags, made, {each.id: each for each in judged}, looks, votes, names)

    def decided(self, since: datetime) -> list[Any]:
        return [f for f in self.flags if f.outcome is not None and f.closed_at >= since]

    def flag_of(self, decision: Any) -> Any:
        return next(each for each in self.flags if each.id == decision.flag_id)

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
                    language=chance.choice(("de", "en", None)),
                    negative=round(chance.random(), 3),
                    sarcasm=round(chance.random(), 1),
                    offensive=chance.choice((None, 0.3, 0.9)),
                    due_at=chance.choice((None, now + timedelta(hours=20))),
                    now=now,
                )
            )
            continue
        number = chance.choice(numbers)
        with suppress(FlagConflict), transaction(database) as connection:
            if what == "claim":
                claims.claim(connection, number, who, claim_seconds=60, now=now)
                now += timedelta(seconds=chance.choice((0.4, 1, 20, 50)))
            if what in ("claim", "decide", "undo"):
                action = chance.choice(("approve", "remove", "remove", "escalate", "skip"))
                code = chance.choice(("hate", "spam")) if action == "remove" else None
                said = Said(
                    action,
                    reason_code=code,
                    sentiment=chance.choice((None, "negative", "positive")),
                    sarcastic=chance.choice((None, True, False)),
                    offensive=chance.choice((None, True, False)),
                )
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


def _removed(rows: Rows, since: datetime) -> tuple[int, int]:
    decided = rows.decided(since)
    return sum(each.outcome == "remove" for each in decided), len(decided)


def _kept(rows: Rows, since: datetime) -> tuple[int, int]:
    promised = [each for each in rows.decided(since) if each.due_at is not None]
    return sum(each.closed_at <= each.due_at for each in promised), len(promised)


def _appeals(rows: Rows, since: datetime) -> tuple[int, int]:
    look_of = {each.id: each for each in rows.reviews}
    ended = [
        look_of[vote.review_id].expected != vote.action
        for vote in rows.votes
        if look_of[vote.review_id].kind == "appeal"
        and vote.action != "skip"
        and vote.created_at >= since
    ]
    return sum(ended), len(ended)


def _right(rows: Rows, since: datetime, name_of: Any) -> dict[str, dict[str, tuple[int, int]]]:
    """How often the model was right, and how many answered, by name and question."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for each in rows.standing(since):
        said = rows.verdicts[each.verdict_id]
        scores = ("negative", "neutral", "positive")
        best = max(scores, key=lambda score: getattr(said, score))
        for name in name_of(each):
            if each.sentiment is not None:
                found[name]["sentiment"].append(each.sentiment == best)
            if each.sarcastic is not None:
                found[name]["sarcasm"].append(each.sarcastic == (said.sarcasm >= 0.5))
            if each.offensive is not None and said.offensive is not None:
                found[name]["offensive"].append(each.offensive == (said.offensive >= 0.5))
    return {
        name: {question: (sum(right), len(right)) for question, right in questions.items()}
        for name, questions in found.items()
    }


def _told_right(told: Sequence[Any]) -> dict[str, dict[str, tuple[int, int]]]:
    return {
        each.name: {name: (share.count, share.n) for name, share in each.shares.items()}
        for each in told
    }


def _curve(rows: Rows, since: datetime, score: str, said: Any) -> list[tuple[float, int, int]]:
    """Lower end of each tenth of the scores, of how many people said so, and how many."""
    bins: dict[int, list[bool]] = defaultdict(list)
    for each in rows.standing(since):
        value = getattr(rows.verdicts[each.verdict_id], score)
        if said(each) is not None and value is not None:
            bins[min(9, int(value * 1000) // 100)].append(said(each))
    return [(number / 10, sum(so), len(so)) for number, so in sorted(bins.items())]


def _loads(rows: Rows, since: datetime) -> dict[str, tuple[Any, ...]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, list[float]] = defaultdict(list)
    hours: dict[str, Counter[datetime]] = defaultdict(Counter)
    for each in rows.standing(since):
        name = rows.names[each.moderator_id]
        counts[name][each.action] += 1
        if each.action not in ("approve", "remove"):
            continue
        hour = each.created_at.replace(minute=0, second=0, microsecond=0)
        hours[name][hour] += rows.verdicts[each.verdict_id].negative >= 0.5
        if each.seconds_taken is not None:
            seconds[name].append(each.seconds_taken)
    return {
        name: (
            done["approve"] + done["remove"],
            done["escalate"],
            done["skip"],
            sum(seconds[name]) / len(seconds[name]) if seconds[name] else None,
            len(hours[name]),
            sum(each < 1 for each in seconds[name]),
            hours[name].total(),
            max(hours[name].values(), default=0),
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
            decided = insight.decided(connection, since=since)
            loads = insight.loads(connection, since=since)
            days = forecast.hours(connection, since=NOW - forecast.COUNTED).days(until=NOW)
            appeals = insight.appeals(connection, since=since)
            told = answers.answers(connection, since=since)
            agreement = fairness.agreement(connection, since=since)
            hits = fairness.hit_rates(connection, since=since)
        assert {p.rule: (p.upheld, p.decided) for p in precision} == _precision(rows, since)
        assert decided.waits == _waits(rows, since)
        assert (decided.removed.count, decided.removed.n) == _removed(rows, since)
        assert (decided.kept.count, decided.kept.n) == _kept(rows, since)
        expected = _loads(rows, since)
        found = _by_name(loads, *LOAD)
        assert found.keys() == expected.keys()
        for name, numbers in expected.items():
            assert found[name] == pytest.approx(numbers), name
        assert [(day.opened, day.decided) for day in days] == _days(rows)
        assert (appeals.overturned.count, appeals.overturned.n) == _appeals(rows, since)
        assert _told_right([told.everything]) == _right(rows, since, lambda each: [""])
        assert _told_right(told.rules) == _right(
            rows, since, lambda each: [why["rule"] for why in rows.flag_of(each).reasons]
        )
        assert _told_right(told.languages) == _right(
            rows, since, lambda each: [rows.flag_of(each).language]
        )
        assert _told_right(told.weeks) == _right(
            rows,
            since,
            lambda each: [str((each.created_at - timedelta(each.created_at.weekday())).date())],
        )
        for curve in told.curves:
            found = [(each.low, each.share.count, each.share.n) for each in curve.bins]
            assert found == _curve(rows, since, curve.name, SAID[curve.name]), curve.name
        looks = _looks(rows, since)
        assert agreement.looks == len(looks)
        assert agreement.same == sum(one == other for *_, one, other in looks)
        pairs = Counter(tuple(sorted(look[1:3])) for look in looks)
        assert {(p.first, p.second): p.looks for p in agreement.pairs} == pairs
        queues = Counter(look[0] for look in looks)
        assert {each.name: each.looks for each in agreement.queues} == queues
        assert _by_name(hits, "hits", "answered") == _hits(rows, since)


def test_the_page_and_the_api_tell_the_same_numbers_and_say_them(console: ConsoleServer) -> None:
    people = [console.person(name) for name in ("ann", "bob", "cat")]
    people.append(console.person("eve", "lead"))
    _history(console.database, people, 1)
    headers = console.token("eve", "agreement:read", role="lead")
    told = console.client().http.get("/api/v1/insight?days=90", headers=headers).json()
    page = console.client("eve", "lead").get("/insight?days=90").text
    for question in ("keeping_up", "people_right", "model_right", "people_well"):
        for sentence in told[question]["answer"].split(". "):
            assert sentence.rstrip(".") in html.unescape(page), question
    rows, since = Rows.of(console.database), NOW - timedelta(days=90)
    assert told["keeping_up"]["waits"] == _waits(rows, since)
    removed = told["people_right"]["removed"]
    assert (removed["count"], removed["n"]) == _removed(rows, since)
    assert {each["rule"]: (each["upheld"], each["decided"]) for each in
            told["people_right"]["rules"]} == _precision(rows, since)  # fmt: skip
    assert len(told["keeping_up"]["outlook"]["steps"]) == 24
    loads = {each["moderator"]: tuple(each[name] for name in LOAD)
             for each in told["people_well"]["moderators"]}  # fmt: skip
    expected = _loads(rows, since)
    assert {name: each[0] for name, each in loads.items()} == {
        name: each[0] for name, each in expected.items()
    }
    for path in told["people_right"]["rules"]:
        assert f'href="/?state=decided&amp;rule={path["rule"]}"' in page
    # Who is no lead sees nobody else, and neither what was missed nor what was overturned.
    bobs = console.client("bob").get("/insight?days=90").text.partition("<main")[2]
    for name in ("ann", "cat", "eve", "Overturned", "blind second"):
        assert name not in bobs, name
    assert "You made " in bobs


def test_drift_is_read_from_a_sample_of_each_day(database: Engine) -> None:
    with transaction(database) as connection:
        for day in range(35):
            recent = day >= 28
            record(
                connection,
                verdicts=[
                    verdict(
                        f"p{day}-{number}",
                        negative=0.6 if recent else 0.2 + day / 1000,
                        sarcasm=0.5,
                        flagged=number < (5 if day % 2 else 6),
                        offensive=0.1,
                    )
                    for number in range(25)
                ],
                now=NOW - timedelta(days=34 - day, hours=2),
            )
    with transaction(database, read_only=True) as connection:
        found = {each.measure: each for each in drift.drift(connection, now=NOW)}
        fewer = {each.measure: each for each in drift.drift(connection, now=NOW, a_day=21)}
    assert list(found) == ["flagged", "negative", "sarcasm", "offensive"]
    negative = found["negative"]
    assert negative.shifted
    assert negative.recent == pytest.approx(0.6)
    assert negative.before == pytest.approx(0.2 + 13.5 / 1000)
    assert negative.days[27:29] == [pytest.approx(0.227), pytest.approx(0.6)]
    assert not found["flagged"].shifted
    assert found["flagged"].days[:2] == [pytest.approx(0.24), pytest.approx(0.2)]
    assert found["sarcasm"].p_value is None, "it is the same every day"
    assert fewer["negative"].recent == pytest.approx(0.6)
    with transaction(database, read_only=True) as connection:
        assert drift.drift(connection, now=NOW, a_day=10) == [], "too few of a day to tell"
        assert drift.drift(connection, now=NOW + timedelta(days=60)) == []


def test_before_anything_happened_words_stand_where_figures_would(console: ConsoleServer) -> None:
    page = console.client("eve", "lead").get("/insight").text
    for words in (
        "Nothing waits.",
        "Deadpan has to have seen a day of flags",
        "No flag was decided in this time.",
        "Nobody answered “Was the model right?” in this time.",
        "there are too few posts a day, or days",
        "Nobody decided anything in this time.",
    ):
        assert words in page, words
    assert "None" not in page.partition("<main")[2]


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
        assert "Decided</a> in 30 days</dt><dd>10<" in page
        assert '<td class="n">3</td><td class="n">10</td>' in page, "3 of 10"
    assert "Open</a></dt><dd>4<" in before
    assert "Open</a></dt><dd>0<" in after


def test_numbers_of_before_lunch_are_shown_to_nobody(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead, cache = console.client("eve", "lead"), console.app.state.insight
    one = flag(console.database, "p1")
    assert "Open</a></dt><dd>1<" in lead.get("/insight").text
    lead.post(f"/flags/{one}/decide", {"action": "approve"})
    counted_at, numbers = cache._kept[30]
    cache._kept[30] = counted_at - 540, numbers
    page = lead.get("/insight").text
    assert "Open</a></dt><dd>0<" in page
    assert "Decided</a> in 30 days</dt><dd>1<" in page
    # Where counting takes long, old numbers are not shown in the meantime either.
    monkeypatch.setattr(cache, "patience_seconds", 0)
    counted_at, numbers = cache._kept[30]
    cache._kept[30] = counted_at - 540, numbers
    assert "Counting…" in lead.get("/insight").text
