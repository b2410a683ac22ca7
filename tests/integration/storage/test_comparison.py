"""What `deadpan canary` tells, worked out by hand; on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result
from sqlalchemy import Engine, func, select, update
from typer.testing import CliRunner

from deadpan.cli import app
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.keeping import erasure
from storage.people import moderators
from storage.reports.statistics import Paired
from storage.tables import challenger_verdicts
from storage.trials import challenger, comparison
from storage.trials.challenger import NewChallengerVerdict
from storage.trials.trials import trials
from tasks.housekeeping.housekeeping import Housekeeper

NOW = datetime(2020, 5, 1, 12, tzinfo=UTC)
# post: champion's and challenger's negative, neutral, positive, sarcasm; and their rules
POSTS = {
    "same": ((0.8, 0.1, 0.1, 0.2), (0.7, 0.2, 0.1, 0.1), ["negative"], ["negative"]),
    "milder": ((0.8, 0.1, 0.1, 0.2), (0.1, 0.8, 0.1, 0.2), ["negative"], []),
    "harsher": ((0.1, 0.1, 0.8, 0.2), (0.1, 0.2, 0.7, 0.9), [], ["sarcastic"]),
    "calm": ((0.1, 0.8, 0.1, 0.2), (0.1, 0.8, 0.1, 0.3), [], []),
    "other": ((0.8, 0.1, 0.1, 0.9), (0.7, 0.2, 0.1, 0.1), ["negative", "sarcastic"], ["negative"]),
}


def verdict(
    post_id: str, scores: tuple[float, ...], model: str, rules: list[str], policy: str = "p"
) -> NewVerdict:
    flag = NewFlag("q", 1, [{"rule": rule} for rule in rules]) if rules else None
    return NewVerdict(post_id, "a" * 64, model, "c", policy, *scores, flag=flag)


def fill(database: Engine, champion: str = "old", challenger_model: str = "new") -> dict[str, int]:
    with transaction(database) as connection:
        recorded = record(
            connection,
            verdicts=[verdict(i, old, champion, rules) for i, (old, _, rules, _) in POSTS.items()],
            now=NOW,
        )
        challenger.record(
            connection,
            [
                NewChallengerVerdict(
                    verdict(i, new, challenger_model, []), rules, champion, "c", old_rules
                )
                for i, (_, new, old_rules, rules) in POSTS.items()
            ],
            now=NOW,
        )
    return dict(recorded.opened_flag_ids)


def decide(database: Engine, flag_id: int, name: str, said: Said) -> None:
    with transaction(database) as connection:
        known = {each.name: each for each in moderators.everyone(connection)}
        who = known.get(name) or moderators.add(connection, name, "moderator", actor="t")
        decisions.decide(connection, flag_id, who, said)


def compared(database: Engine, **more: object) -> comparison.Comparison:
    with transaction(database, read_only=True) as connection:
        (trial, *_) = trials(connection)
        return comparison.compare(connection, trial, **more)  # type: ignore[arg-type]


def test_posts_of_both_are_compared(database: Engine) -> None:
    fill(database)
    found = compared(database)
    assert (found.posts, found.trial.posts) == (5, 5)
    sentiment, sarcasm = found.agreement["sentiment"], found.agreement["sarcasm"]
    assert (sentiment.share.count, sentiment.share.n) == (4, 5)
    assert sarcasm.share.count == 3
    assert sentiment.confusion == [[2, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert sarcasm.confusion == [[3, 1], [1, 0]]
    flags = found.flags
    assert (flags.both, flags.removed, flags.added) == (2, 1, 1)
    assert (flags.champion.count, flags.challenger.count) == (3, 3)
    assert flags.removed_by_rule == {"negative": 1, "sarcastic": 1}
    assert flags.added_by_rule == {"sarcastic": 1}
    shift = found.shifts["negative"]
    assert shift.mean == pytest.approx((-0.1 - 0.7 - 0.1) / 5)
    assert shift.mean_absolute == pytest.approx(0.9 / 5)
    assert found.shifts["sarcasm"].mean == pytest.approx((-0.1 + 0.7 + 0.1 - 0.8) / 5)
    assert [(e.post_id, round(e.distance, 6)) for e in found.examples] == [
        ("other", 0.8),
        ("milder", 0.7),
        ("harsher", 0.7),
    ]
    assert found.examples[0].champion["sarcasm"] == 0.9
    assert found.examples[0].challenger_rules == ["negative"]
    assert [e.post_id for e in compared(database, examples=1).examples] == ["other"]
    assert compared(database, examples=0).examples == []


def test_the_page_for_leads_has_the_same_figures(database: Engine) -> None:
    fill(database)
    whole = compared(database)
    with transaction(database, read_only=True) as connection:
        found = comparison.brief(connection, since=NOW)
        assert comparison.brief(connection, since=NOW + timedelta(seconds=1)) is None
    assert found is not None
    assert found == comparison.Brief(
        whole.trial,
        whole.posts,
        {question: one.share for question, one in whole.agreement.items()},
        whole.flags.removed,
        whole.flags.added,
    )


def test_moderators_say_who_was_right(database: Engine) -> None:
    flags = fill(database)
    decide(database, flags["same"], "ada", Said("remove", sentiment="negative", sarcastic=False))
    decide(database, flags["milder"], "ada", Said("approve", sentiment="neutral"))
    decide(database, flags["other"], "ada", Said("remove", sentiment="positive", sarcastic=False))
    found = compared(database).decided
    sentiment, sarcasm = found.right["sentiment"], found.right["sarcasm"]
    assert (sentiment.both, sentiment.challenger_only, sentiment.neither) == (1, 1, 1)
    assert (sentiment.champion_only, sentiment.p_value) == (0, 1.0)
    assert (sarcasm.both, sarcasm.challenger_only) == (1, 1)
    assert found.right["offensive"] == Paired(0, 0, 0, 0, None)
    assert (found.dropped.count, found.dropped.n) == (1, 1)
    assert (found.kept.count, found.kept.n) == (2, 2)


def test_a_decision_that_was_undone_says_nothing(database: Engine) -> None:
    flags = fill(database)
    with transaction(database) as connection:
        who = moderators.add(connection, "ada", "moderator", actor="t")
        made = decisions.decide(
            connection, flags["milder"], who, Said("approve", sentiment="neutral")
        )
        decisions.undo(connection, made.id, who, claim_seconds=None)
    decided = compared(database).decided
    assert decided.dropped.n == 0
    assert decided.right["sentiment"].challenger_only == 0


def test_answers_that_one_of_the_two_does_not_give_are_left_out(database: Engine) -> None:
    """As when the champion is a model that is not asked whether words are offensive."""
    posts = {
        "rude": ({"offensive": 0.4, "hateful": 0.1}, {"offensive": 0.9, "hateful": 0.2}),
        "calm": ({"offensive": 0.2, "hateful": 0.1}, {"offensive": 0.1, "hateful": 0.1}),
        "unasked": ({}, {"offensive": 0.9, "hateful": 0.9}),
        "wordless": ({}, {}),
    }
    plain = (0.1, 0.8, 0.1, 0.2)
    with transaction(database) as connection:
        recorded = record(
            connection,
            verdicts=[
                replace(verdict(i, plain, "old", ["negative"]), **old)
                for i, (old, _) in posts.items()
            ],
            now=NOW,
        )
        challenger.record(
            connection,
            [
                NewChallengerVerdict(
                    replace(verdict(i, plain, "new", []), **new), [], "old", "c", ["negative"]
                )
                for i, (_, new) in posts.items()
            ],
            now=NOW,
        )
    decide(database, recorded.opened_flag_ids["rude"], "ada", Said("remove", offensive=True))
    decide(database, recorded.opened_flag_ids["unasked"], "ada", Said("remove", offensive=True))
    found = compared(database)
    offensive, hateful = found.agreement["offensive"], found.agreement["hateful"]
    assert (offensive.share.count, offensive.share.n) == (1, 2)
    assert offensive.confusion == [[1, 1], [0, 0]]
    assert (hateful.share.count, hateful.share.n) == (2, 2)
    assert found.agreement["sentiment"].share.n == 4
    assert found.shifts["offensive"].mean == pytest.approx((0.5 - 0.1) / 2)
    assert found.shifts["hateful"].mean == pytest.approx(0.05)
    assert [(e.post_id, round(e.distance, 6)) for e in found.examples] == [("rude", 0.5)]
    assert found.decided.right["offensive"] == Paired(0, 0, 1, 0, 1.0)


def test_trials_are_told_apart_and_the_latest_comes_first(database: Engine) -> None:
    fill(database)
    fill(database, champion="older", challenger_model="newest")
    with transaction(database, read_only=True) as connection:
        found = trials(connection)
        assert [(t.champion, t.challenger) for t in found] == [("older", "newest"), ("old", "new")]
        assert (found[0].first, found[0].last) == (NOW, NOW)
        assert [t.challenger for t in trials(connection, champion="old")] == ["new"]
        assert trials(connection, challenger="nobody") == []
        assert trials(connection, since=NOW + timedelta(seconds=1)) == []


def test_posts_whose_verdict_is_gone_are_left_out(database: Engine) -> None:
    fill(database)
    with transaction(database) as connection:
        # as after an erasure between the two; an erasure itself removes both
        connection.execute(
            update(challenger_verdicts)
            .where(challenger_verdicts.c.post_id == "calm")
            .values(content_hash="b" * 64)
        )
        erasure.erase(connection, "post", "same", requested_by="t")
    found = compared(database)
    assert (found.posts, found.trial.posts) == (3, 4)


def test_what_is_old_is_forgotten(database: Engine) -> None:
    fill(database)
    with transaction(database) as connection:
        assert challenger.forget(connection, days=1, limit=3) == 3
        assert challenger.forget(connection, days=1) == 2
        assert challenger.forget(connection, days=1) == 0
        assert trials(connection) == []


@pytest.mark.parametrize(("days", "left"), [(0, 5), (30, 0)])
def test_housekeeping_forgets_what_is_old_where_it_is_told_to(
    database: Engine, days: int, left: int
) -> None:
    fill(database)  # of a day that is long gone
    keeper = Housekeeper(
        database, holder="test", deliverer=None, retention_days=0, challenger_days=days
    )
    keeper._turn()
    with transaction(database, read_only=True) as connection:
        assert connection.execute(select(func.count(challenger_verdicts.c.id))).scalar_one() == left


def test_the_command_tells_the_same_as_a_table_and_as_json(
    database: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADPAN_DATABASE_URL", database_url)

    def canary(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["canary", *arguments])

    assert "set DEADPAN_CHALLENGER" in canary().stdout
    assert json.loads(canary("--json").stdout) == {"trial": None, "posts": 0, "others": []}
    flags = fill(database)
    decide(database, flags["milder"], "ada", Said("approve", sentiment="neutral"))
    told = json.loads(canary("--json").stdout)
    assert (told["posts"], told["others"]) == (5, [])
    assert told["trial"]["challenger"] == "new"
    assert told["agreement"]["sentiment"]["share"]["value"] == 0.8
    assert told["flags"]["removed"] == 1
    assert told["decided"]["right"]["sentiment"]["challenger_only"] == 1
    assert told["examples"][0]["post_id"] == "other"
    shown = canary("--examples", "1").stdout
    assert "challenger new (calibration c) beside old (calibration c), policy p: 5 posts" in shown
    assert "80.0%" in shown
    assert "2 of both, 1 removed, 1 added" in shown
    assert "other" in shown
    assert "milder" not in shown
    assert "that the challenger would not raise: 1, of which approved 100.0%" in shown
    wrong = canary("--since", "yesterday").exception
    assert isinstance(wrong, ConfigurationError)
    assert "yesterday" in str(wrong)
