from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deadpan.core.errors import PolicyError
from models.posts.prediction import Prediction, Scores, Sentiment
from tasks.policy.calibrated import policy_toml
from tasks.policy.reason_codes import read_reason_codes
from tasks.policy.rules import SCORE_NAMES, load_policy, parse_policy, scores_of

RULE = {"name": "loud", "when": "sarcasm >= 0.7", "queue": "sarcasm", "priority": 10}


def scores(negative: float = 0.1, sarcasm: float = 0.1, **of_words: float) -> Scores:
    return Scores(Sentiment(negative, 1 - negative, 0.0), sarcasm, **of_words)


def test_the_shipped_policy_is_valid_and_flags_negative_and_sarcastic_posts() -> None:
    policy = load_policy()
    calm = Prediction(scores(), scores(), None)
    assert policy.reasons_for(scores_of(calm)) == ()
    negative = Prediction(scores(negative=0.9), scores(), None)
    assert policy.reasons_for(scores_of(negative))[0].queue == "negative"
    sarcastic = Prediction(scores(sarcasm=0.9), scores(), None)
    assert policy.reasons_for(scores_of(sarcastic))[0].queue == "sarcasm"


def test_the_shipped_policy_puts_hateful_and_offensive_posts_before_negative_ones() -> None:
    policy = load_policy()

    def first(**found: float) -> tuple[str, str, int]:
        reason = policy.reasons_for(scores_of(Prediction(scores(**found), None, None)))[0]
        return reason.rule, reason.queue, reason.priority

    very_negative = first(negative=0.95)
    offensive = first(negative=0.65, offensive=0.9)
    hateful = first(negative=0.3, hateful=0.9)
    assert [each[:2] for each in (very_negative, offensive, hateful)] == [
        ("very-negative", "negative"),
        ("negative-and-offensive", "negative"),
        ("hateful", "negative"),
    ]
    assert very_negative[2] < offensive[2] < hateful[2]
    swearing_for_joy = Prediction(scores(negative=0.1, offensive=0.9), None, None)
    assert policy.reasons_for(scores_of(swearing_for_joy)) == ()


def test_the_shipped_policy_looks_at_words_that_say_the_opposite_of_their_picture() -> None:
    text = Scores(Sentiment(0.0, 0.1, 0.9), 0.1)
    image = Scores(Sentiment(0.8, 0.1, 0.1), 0.1)
    (reason,) = load_policy().reasons_for(scores_of(Prediction(scores(), text, image)))
    assert (reason.rule, reason.queue) == ("words-against-picture", "sarcasm")


def test_a_post_without_words_or_a_model_that_is_not_asked_has_no_score_of_words() -> None:
    named = scores_of(Prediction(scores(), None, scores()))
    assert not {"offensive", "hateful"} & set(named)
    policy = parse_policy({"rules": [{**RULE, "when": "offensive < 1"}]})
    assert not policy.reasons_for(named)
    assert policy.reasons_for(scores_of(Prediction(scores(offensive=0.2), None, None)))


def test_a_reason_carries_the_rule_the_score_and_the_threshold() -> None:
    policy = parse_policy({"rules": [RULE]})
    (reason,) = policy.reasons_for(scores_of(Prediction(scores(sarcasm=0.75), None, None)))
    assert reason.as_row() == {
        "rule": "loud",
        "queue": "sarcasm",
        "priority": 10,
        "conditions": [{"score": "sarcasm", "comparison": ">=", "threshold": 0.7, "value": 0.75}],
    }


def test_the_most_urgent_reason_comes_first() -> None:
    policy = parse_policy(
        {"rules": [RULE, {**RULE, "name": "louder", "when": "sarcasm > 0.8", "priority": 90}]}
    )
    fired = policy.reasons_for(scores_of(Prediction(scores(sarcasm=0.9), None, None)))
    assert [reason.rule for reason in fired] == ["louder", "loud"]


def test_all_conditions_of_a_rule_must_hold() -> None:
    policy = parse_policy(
        {"rules": [{**RULE, "when": "sarcasm >= 0.7 and sentiment.negative < 0.5"}]}
    )
    assert policy.reasons_for(scores_of(Prediction(scores(0.4, 0.8), None, None)))
    assert not policy.reasons_for(scores_of(Prediction(scores(0.6, 0.8), None, None)))


def test_a_condition_about_a_score_that_the_post_lacks_does_not_hold() -> None:
    policy = parse_policy({"rules": [{**RULE, "when": "image_alone.sarcasm >= 0.0"}]})
    assert not policy.reasons_for(scores_of(Prediction(scores(), scores(), None)))
    assert policy.reasons_for(scores_of(Prediction(scores(), scores(), scores())))


def test_a_rule_may_ask_whether_anything_was_not_read() -> None:
    policy = parse_policy({"rules": [{**RULE, "when": "unread >= 1"}]})
    calm = Prediction(scores(), scores(), None)
    assert not policy.reasons_for(scores_of(calm))
    (reason,) = policy.reasons_for(scores_of(calm, unread=True))
    assert str(reason) == "unread 1.00 >= 1"


def test_a_rule_may_ask_for_the_language_of_the_post() -> None:
    when = {"german": "language == de and unlearnt < 1", "foreign": "language != en"}
    rules = [{**RULE, "name": name, "when": words} for name, words in when.items()]
    policy = parse_policy({"rules": rules})
    named = scores_of(Prediction(scores(), scores(), None))

    def fired(language: str | None) -> list[str]:
        return [reason.rule for reason in policy.reasons_for(named, language)]

    assert fired("de") == ["german", "foreign"]
    assert fired("tr") == ["foreign"]
    assert fired("en") == fired(None) == []
    (german, _) = policy.reasons_for(named, "de")
    assert str(german) == "language de == de and unlearnt 0.00 < 1"
    assert german.as_row()["conditions"][0] == {
        "score": "language",
        "comparison": "==",
        "threshold": "de",
        "value": "de",
    }


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("language = de", "a language is compared with == or !="),
        ("language >= 0.5", "a language is compared with == or !="),
        ("language", "a language is compared with == or !="),
        ("language == German", "two or three small letters of ISO 639"),
        ("language == pt-BR", "two or three small letters of ISO 639"),
        ("language == ", "two or three small letters of ISO 639"),
        ("language != und", "whose language is unknown, no condition about language holds"),
        ("language == nb", "write no"),
        ("language == zxx", "that is no language"),
    ],
)
def test_a_condition_about_the_language_that_cannot_hold_is_refused(
    when: str, problem: str
) -> None:
    with pytest.raises(PolicyError, match=problem):
        parse_policy({"rules": [{**RULE, "when": when}]})


def test_a_rule_may_ask_whether_the_model_never_learnt_the_language() -> None:
    policy = parse_policy({"rules": [{**RULE, "when": "unlearnt >= 1"}]})
    calm = Prediction(scores(), scores(), None)
    assert not policy.reasons_for(scores_of(calm))
    (reason,) = policy.reasons_for(scores_of(calm, unlearnt=True))
    assert str(reason) == "unlearnt 1.00 >= 1"


def test_disagreement_and_opposition_compare_text_alone_with_image_alone() -> None:
    text = Scores(Sentiment(0.0, 0.1, 0.9), 0.1)
    image = Scores(Sentiment(0.8, 0.1, 0.1), 0.1)
    named = scores_of(Prediction(text, text, image))
    assert named["disagreement"] == pytest.approx(0.8)
    assert named["opposition"] == pytest.approx(0.9 * 0.8)
    asked = Prediction(scores(offensive=0.3, hateful=0.2), text, image)
    assert set(scores_of(asked)) == set(SCORE_NAMES)


def test_everything_wrong_in_a_policy_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        """
        colour = "red"
        [[rules]]
        name = "Loud"
        when = "sarkasm >= 0.7 and sarcasm >= 7 and nonsense"
        priority = 1000
        [[rules]]
        nmae = "typo"
        """
    )
    with pytest.raises(PolicyError) as caught:
        load_policy(str(path))
    shown = str(caught.value)
    for part in (
        "'colour'", "'Loud'", "'sarkasm'", "threshold 7", "'nonsense'", "1000",
        "'queue' is missing", "unknown field 'nmae'", "'when' is missing",
    ):  # fmt: skip
        assert part in shown, part


@pytest.mark.parametrize(
    "text", ["rules = 3", "rules = [1]", "= nonsense", "[[rules]]\nname = 'x'\nname = 'y'"]
)
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError):
        load_policy(str(path))


def test_a_policy_that_is_not_there_is_named_with_the_remedy() -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml.*DEADPAN_POLICY"):
        load_policy("nowhere.toml")


def test_the_version_changes_when_and_only_when_a_rule_does() -> None:
    version = parse_policy({"rules": [RULE]}).version
    assert parse_policy({"rules": [dict(reversed(RULE.items()))]}).version == version
    assert parse_policy({"rules": [{**RULE, "priority": 11}]}).version != version
    assert parse_policy({"rules": [{**RULE, "when": "sarcasm >= 0.71"}]}).version != version


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_is_compared_exactly(score: float, threshold: float) -> None:
    written = f"{threshold:.6f}"
    policy = parse_policy({"rules": [{**RULE, "when": f"sarcasm >= {written}"}]})
    fired = policy.reasons_for(scores_of(Prediction(scores(sarcasm=score), None, None)))
    assert bool(fired) == (score >= float(written))


CODES = {"nudity": 'Nudity, of "art" too', "other": "Ünd sonst"}


def test_a_policy_says_what_moderators_choose_from_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        """
        [reason_codes]
        z-last = "Comes first"
        a = " Comes second "
        """
    )
    assert list(read_reason_codes(str(path)).items()) == [
        ("z-last", "Comes first"), ("a", "Comes second"),
    ]  # fmt: skip
    assert load_policy(str(path)).rules == ()


def test_a_policy_without_reason_codes_takes_those_that_ship(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    assert read_reason_codes(str(path)) == read_reason_codes()
    assert read_reason_codes()["hate"] == "Hate speech"


def test_reason_codes_judge_nothing_and_change_no_version() -> None:
    version = parse_policy({"rules": [RULE]}).version
    assert parse_policy({"rules": [RULE], "reason_codes": CODES}).version == version


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("reason_codes = {}", "leave it out to use those that ship"),
        ("reason_codes = ['hate']", "as a table"),
        ('[reason_codes]\n"No Code" = "x"', "reason code 'No Code' must be"),
        ('[reason_codes]\nhate = ""', "reason code 'hate' is ''"),
        ("[reason_codes]\nhate = 3", "reason code 'hate' is '3'"),
        ('[reason_codes]\nhate = "a\\nb"', "give it a label for people"),
        (f'[reason_codes]\nhate = "{"x" * 81}"', "at most 80 characters"),
    ],
)
def test_reason_codes_that_cannot_be_used_are_refused_by_worker_and_console(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(line)
    for read in (load_policy, read_reason_codes):
        with pytest.raises(PolicyError, match=said) as caught:
            read(str(path))
        assert str(path) in str(caught.value)


def test_a_policy_that_is_written_anew_goes_on_with_the_reason_codes(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(policy_toml([], model="m", calibration="c", data=[], reason_codes=CODES))
    assert read_reason_codes(str(path)) == CODES
    assert list(read_reason_codes(str(path))) == list(CODES)


def test_a_policy_of_chosen_thresholds_has_the_order_of_the_shipped_one() -> None:
    metric = {"value": 0.8, "low": 0.7, "high": 0.9}
    row = {"threshold": 0.5, "why": "", "precision": metric, "recall": metric, "share": 0.1}
    names = ("sarcasm", "sentiment.negative", "sentiment.positive", "offensive", "hateful")
    chosen = [{"score": name, "flags_per_day": None, **row} for name in names]
    written = tomllib.loads(policy_toml(chosen, model="m", calibration="c", data=[]))
    rules = {rule["name"]: rule for rule in written["rules"]}
    order = sorted(rules, key=lambda name: -rules[name]["priority"])
    assert order == [
        "hateful", "offensive", "sentiment-negative", "sarcasm", "sentiment-positive", "unseen"
    ]  # fmt: skip
    assert [rules[name]["queue"] for name in order] == [
        "negative", "negative", "negative", "sarcasm", "positive", "degraded"
    ]  # fmt: skip


def test_a_rule_promises_for_itself_or_its_queue_does_and_no_version_changes() -> None:
    own, other = {**RULE, "decide_within": "30m"}, {**RULE, "name": "other"}
    policy = parse_policy({"rules": [own, other], "queues": {"sarcasm": {"decide_within": "2 h"}}})
    assert policy.version == parse_policy({"rules": [RULE, other]}).version
    reasons = {each.rule: each for each in policy.reasons_for(dict.fromkeys(SCORE_NAMES, 1.0))}
    assert reasons["loud"].decide_within_seconds == 1800
    assert reasons["other"].as_row()["decide_within_seconds"] == 7200
    without = parse_policy({"rules": [RULE]}).reasons_for(dict.fromkeys(SCORE_NAMES, 1.0))[0]
    assert "decide_within_seconds" not in without.as_row()


@pytest.mark.parametrize("wrong", ["4 hours", "0h", "-1h", "1.5h", "366d", "4H", 4, ""])
def test_a_promise_that_cannot_be_read_is_refused_with_its_value_and_the_remedy(
    wrong: object,
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"rules": [{**RULE, "decide_within": wrong}]})
    assert f"decide_within is {wrong!r}; write a whole number with m, h or d" in str(caught.value)
    queues = {"nowhere": {"decide_within": wrong, "within": "1h"}, "sarcasm": "4h"}
    with pytest.raises(PolicyError) as caught:
        parse_policy({"rules": [RULE], "queues": queues})
    said = str(caught.value)
    assert f"queue 'nowhere': decide_within is {wrong!r}; write a whole number" in said
    assert "'nowhere' is of no rule; queues of this policy are sarcasm" in said
    assert "unknown field 'within'; known is decide_within" in said
    assert "write it as a table [queues.sarcasm]" in said
