"""The learned order: what it learns, when it is used, and that nothing starves in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.web.words import placed
from deadpan.core.errors import PolicyError
from storage.flags.placing import Known
from tasks.order import learned
from tasks.order.learned import Ranker
from tasks.order.logistic import fit, sigmoid
from tasks.policy.order_table import parse_order, reads_author_records
from tasks.policy.rules import parse_policy
from tests.order_data import decided, known

BOUND = timedelta(hours=24)
RANKER = Ranker.learnt(decided(400), authors=False, penalty=10)


def test_a_fit_finds_what_made_the_data_and_its_mean_is_the_share_of_ones() -> None:
    chance = np.random.default_rng(1)
    x = chance.normal(size=(4000, 3))
    y = (chance.random(4000) < sigmoid(x @ [1.5, -1.0, 0.0] - 1)).astype(float)
    weights, intercept = fit(x, y, np.ones(3))
    assert weights == pytest.approx([1.5, -1.0, 0.0], abs=0.15)
    assert sigmoid(x @ weights + intercept).mean() == pytest.approx(y.mean(), abs=1e-4)


def test_an_order_is_used_if_it_does_better_on_decisions_that_it_has_not_seen() -> None:
    trained = learned.train(decided(600), authors=False)
    assert trained.ranker is not None
    told = trained.evaluation
    assert told["decisions"] == 150
    assert told["log_loss"] < told["base_log_loss"]
    assert told["reached"]["learned"]["value"] > told["reached"]["age"]["value"]
    assert told["reached"]["learned"]["low"] <= told["reached"]["learned"]["value"]
    assert told["expected_removed"] == pytest.approx(told["removed"], rel=0.25)


def test_an_order_that_learnt_nothing_is_refused_and_so_is_one_without_both_kinds() -> None:
    assert learned.train(decided(600, told=0), authors=False).ranker is None
    same = [replace(flag, removed=True) for flag in decided(300)]
    trained = learned.train(same, authors=False)
    assert trained.ranker is None
    assert trained.why.startswith("too few of one kind")


def _few(seed: int, *, told: float = 4.0) -> list[Known]:
    """200 decided flags whose highest score tells which were removed, with words that tell nothing
    and are as many as distract from it."""
    chance = np.random.default_rng(seed)
    found = []
    for n in range(1, 201):
        negative = float(chance.random())
        share = 1 / (1 + np.exp(-told * (negative - 0.6)))
        words = " ".join(f"word{k}" for k in chance.integers(0, 400, 8))
        scores = {"negative": negative, "sarcasm": 0.0}
        found.append(known(n, scores=scores, words=words, removed=bool(chance.random() < share)))
    return found


def test_where_few_decisions_prove_no_order_the_highest_score_is_one() -> None:
    tried = [learned.train(_few(seed), authors=False) for seed in range(5)]
    by_score = [each for each in tried if each.ranker is not None and each.ranker.highest]
    assert sum(each.ranker is not None for each in tried) >= 4
    assert len(by_score) >= 2
    new = _few(99)
    for each in by_score:
        assert each.ranker is not None
        again = Ranker.from_row(json.loads(json.dumps(each.ranker.as_row())))
        chances = again.chances_of(new)
        assert list(np.argsort(chances)) == list(np.argsort(learned.highest_scores(new)))
        assert chances.mean() == pytest.approx(np.mean([bool(f.removed) for f in new]), abs=0.15)
        assert "the highest score reaches" in each.why
        (first,) = learned.places(
            [replace(new[int(np.argmax(chances))], id=4)],
            again,
            order_id=1,
            bound=BOUND,
            random_share=0,
        )
        assert placed(first.placement).endswith("more often, for its scores.")
    used = by_score[0].ranker
    assert not learned.train(_few(0), authors=False, used=used).used_is_no_good


def test_a_score_that_tells_nothing_is_no_order() -> None:
    tried = [learned.train(_few(seed, told=0), authors=False) for seed in range(4)]
    assert not any(each.ranker for each in tried)


def test_an_order_in_use_that_no_longer_tells_anything_is_found_out() -> None:
    turned = [replace(flag, removed=not flag.removed) for flag in decided(600)]
    assert learned.train(turned, authors=False, used=RANKER).used_is_no_good
    assert not learned.train(decided(600), authors=False, used=RANKER).used_is_no_good


def test_what_was_learnt_is_stored_and_read_as_it_was() -> None:
    again = Ranker.from_row(json.loads(json.dumps(RANKER.as_row())))
    flags = decided(50, seed=3)
    assert again.chances_of(flags) == pytest.approx(RANKER.chances_of(flags), abs=1e-3)
    assert "clown" not in json.dumps(RANKER.as_row())


@settings(max_examples=60, deadline=None)
@given(
    flags=st.lists(
        st.tuples(
            st.integers(1, 10**6),
            st.floats(0, 10_000),
            st.floats(0, 1),
            st.sampled_from(["", "clown", "good morning"]),
        ),
        min_size=2,
        max_size=40,
        unique_by=lambda each: each[0],
    ),
    random_share=st.sampled_from([0.0, 0.1, 1.0]),
    bound_hours=st.floats(0.1, 100),
)
def test_nothing_starves(
    flags: list[tuple[int, float, float, str]], random_share: float, bound_hours: float
) -> None:
    """Whatever comes, a flag is behind nothing that was opened later than the bound after it."""
    bound = timedelta(hours=bound_hours)
    waiting = [
        known(number, minutes=minutes, scores={"sarcasm": sarcasm}, words=words)
        for number, minutes, sarcasm, words in flags
    ]
    found = learned.places(waiting, RANKER, order_id=1, bound=bound, random_share=random_share)
    opened = {flag.id: flag.opened_at for flag in waiting}
    slack = timedelta(milliseconds=1)
    queue = sorted(found, key=lambda each: (each.rank_at, each.flag_id))
    for place_, flag in enumerate(queue):
        assert opened[flag.flag_id] - bound - slack <= flag.rank_at <= opened[flag.flag_id]
        before = [opened[each.flag_id] for each in queue[:place_]]
        assert all(moment <= opened[flag.flag_id] + bound + slack for moment in before)


def test_a_part_of_the_flags_is_placed_by_chance_and_always_the_same() -> None:
    flags = [known(n) for n in range(1, 2001)]
    first, again = (
        learned.places(part, RANKER, order_id=1, bound=BOUND, random_share=0.1)
        for part in (flags, flags[::-1])
    )
    by_chance = {each.flag_id for each in first if each.placement["how"] == "random"}
    assert by_chance == {each.flag_id for each in again if each.placement["how"] == "random"}
    assert 150 < len(by_chance) < 250
    ahead = [e.placement["ahead_hours"] for e in first if e.placement["how"] == "random"]
    assert 10 < np.mean(ahead) < 14


def test_a_look_is_placed_by_chance_whatever_it_holds() -> None:
    looks = [known(n, scores={"sarcasm": 0.01}, blind=True) for n in range(1, 301)]
    found = learned.places(looks, RANKER, order_id=1, bound=BOUND, random_share=0)
    assert {each.placement["how"] for each in found} == {"random"}
    assert 10 < np.mean([each.placement["ahead_hours"] for each in found]) < 14


def test_likelier_is_further_ahead_and_a_sentence_says_why() -> None:
    likely = known(1, scores={"sarcasm": 0.99}, words="what a clown")
    unlikely = known(2, scores={"sarcasm": 0.01}, words="good morning")
    first, second = learned.places(
        [likely, unlikely], RANKER, order_id=1, bound=BOUND, random_share=0
    )
    assert first.placement["ahead_hours"] > 20 > 4 > second.placement["ahead_hours"]
    assert set(first.placement["because"]) == {"scores", "words"}
    sentence = placed(first.placement)
    assert (
        "ahead of its age: moderators remove flags like this one more often, for its " in sentence
    )
    assert "%" not in sentence
    assert "% likely" in placed(first.placement, chance=True)
    assert placed(None) == ""


def test_where_a_time_is_promised_a_flag_is_ahead_by_half_of_it_at_most() -> None:
    promised = known(1, scores={"sarcasm": 0.99}, words="what a clown")
    promised = replace(promised, due_at=promised.opened_at + timedelta(hours=4))
    (place,) = learned.places([promised], RANKER, order_id=1, bound=BOUND, random_share=0)
    assert timedelta(hours=1) < promised.opened_at - place.rank_at <= timedelta(hours=2)


def test_an_authors_record_is_what_was_decided_before_a_flag_was_opened() -> None:
    flags = [
        known(1, minutes=0, author="ann", removed=True),
        known(2, minutes=10, author="ann", removed=True),  # before the first was decided
        known(3, minutes=60, author="ann", removed=False),
        known(4, minutes=60, author="bob", removed=False),
    ]
    found = {each.id: each for each in learned.with_records(flags)}
    assert [(found[n].author_removed, found[n].author_decided) for n in (1, 2, 3, 4)] == [
        (0, 0),
        (0, 0),
        (2, 2),
        (0, 0),
    ]
    groups = {
        each: Ranker.learnt(decided(60), authors=each, penalty=9).columns.groups
        for each in (True, False)
    }
    assert "author" in groups[True]
    assert "author" not in groups[False]


def test_the_policy_says_whether_authors_records_count() -> None:
    assert reads_author_records() is False
    assert parse_order({"author_record": True}, shown="policy") == (True, [])
    rules = {"rules": [], "order": {"author_record": True}}
    assert parse_policy(rules).version == parse_policy({"rules": []}).version
    with pytest.raises(PolicyError, match="author_record is 'yes'; write true or false"):
        parse_policy({"rules": [], "order": {"author_record": "yes"}})
    with pytest.raises(PolicyError, match="unknown field 'authors' in \\[order\\]"):
        parse_policy({"rules": [], "order": {"authors": True}})
