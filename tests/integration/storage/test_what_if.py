"""What if, against judging every stored verdict again."""

from __future__ import annotations

import random
import tomllib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from deadpan.core.errors import PolicyError
from storage import tables
from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.outcomes import record
from storage.judging.values import NewFlag
from storage.reports import judged
from storage.tables import Verdict
from tasks.policy import goals
from tasks.policy.rules import Policy, parse_policy
from tasks.policy.what_if import scores_of_verdict, what_if, with_threshold
from tests.console_data import moderator, verdict

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAYS = timedelta(days=10)
POSTS = 3000


def policy(negative: float) -> Policy:
    return parse_policy(
        tomllib.loads(
            f"""
            [[rules]]
            name = "negative"
            when = "sentiment.negative >= {negative} and degraded < 1.0"
            queue = "negative"
            priority = 30
            """
        )
    )


OLD, HIGHER, LOWER = policy(0.9), policy(0.95), policy(0.85)


@pytest.fixture
def judged_posts(database: Engine) -> Engine:
    """Posts of ten days, flagged by OLD; moderators remove what is above 0.93."""
    chance = random.Random(3)
    made = []
    for n in range(POSTS):
        score = chance.random()
        flag = NewFlag("negative", 30, [{"rule": "negative"}]) if score >= 0.9 else None
        each = verdict(f"p{n}", flagged=False, negative=score)
        object.__setattr__(each, "flag", flag)
        made.append(each)
    with transaction(database) as connection:
        for part in range(0, POSTS, 500):
            moment = NOW - DAYS + timedelta(days=0.1 + part / 500)
            found = record(connection, verdicts=made[part : part + 500], now=moment)
            ann = moderator(connection, f"ann{part}")
            for post_id, number in found.opened_flag_ids.items():
                score = made[int(post_id[1:])].negative
                said = Said("remove" if score > 0.93 else "approve")
                decisions.decide(connection, number, ann, said, now=moment)
    return database


def flagged(database: Engine, by: Policy) -> set[str]:
    """Every post that a policy flags, by judging all of them again."""
    with transaction(database, read_only=True) as connection:
        rows = [Verdict(**row._mapping) for row in connection.execute(select(tables.verdicts))]
    return {v.post_id for v in rows if by.reasons_for(scores_of_verdict(v), v.language)}


@pytest.mark.parametrize("new", [HIGHER, LOWER], ids=["higher", "lower"])
def test_of_all_posts_it_says_what_judging_them_again_says(
    judged_posts: Engine, new: Policy
) -> None:
    with transaction(judged_posts, read_only=True) as connection:
        sample = judged.sample(connection, since=NOW - DAYS, until=NOW)
    change = what_if(OLD, new, sample, examples=POSTS)
    before, after = flagged(judged_posts, OLD), flagged(judged_posts, new)
    assert change.before.flags_per_day.value == pytest.approx(len(before) / 10)
    assert change.after.flags_per_day.value == pytest.approx(len(after) / 10)
    assert {each.verdict.post_id for each in change.appear} == after - before
    assert {each.verdict.post_id for each in change.vanish} == before - after


def test_a_higher_threshold_is_more_precise(judged_posts: Engine) -> None:
    with transaction(judged_posts, read_only=True) as connection:
        sample = judged.sample(connection, since=NOW - DAYS, until=NOW)
    change = what_if(OLD, with_threshold(OLD, "negative", 0.95), sample)
    assert change.before.precision is not None
    assert change.after.precision is not None
    assert change.before.precision.value == pytest.approx(0.7, abs=0.1)
    assert change.after.precision.value == 1
    assert change.after.recall is None  # nobody looked for what is missed


def test_a_goal_of_flags_a_day_is_kept_by_judging_them_again(judged_posts: Engine) -> None:
    with transaction(judged_posts, read_only=True) as connection:
        sample = judged.sample(connection, since=NOW - DAYS, until=NOW)
    found = goals.for_flags_a_day(OLD, "negative", sample, 50)
    kept = flagged(judged_posts, with_threshold(OLD, "negative", found.threshold))
    below = flagged(judged_posts, with_threshold(OLD, "negative", found.threshold - 0.01))
    assert found.reached.value == pytest.approx(len(kept) / 10)
    assert len(kept) <= 500 < len(below)


def test_a_sample_says_it_nearly_and_its_interval_holds_the_truth(judged_posts: Engine) -> None:
    truth = len(flagged(judged_posts, LOWER)) / 10
    held = 0
    with transaction(judged_posts, read_only=True) as connection:
        for second in range(8):  # another time is another sample
            since = NOW - DAYS - timedelta(seconds=second)
            sample = judged.sample(connection, since=since, until=NOW, flags=150, unflagged=600)
            found = what_if(OLD, LOWER, sample).after.flags_per_day
            held += found.low <= truth <= found.high
            assert found.value == pytest.approx(truth, rel=0.5)
            assert found.high - found.low < truth
    assert held >= 6


def test_a_rule_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(PolicyError, match="no rule 'x'; rules are negative"):
        with_threshold(OLD, "x", 0.5)
    with pytest.raises(PolicyError, match="must be between 0 and 1"):
        with_threshold(OLD, "negative", 1.5)
