"""What the console calls a policy's scores."""

from __future__ import annotations

import pytest

from console.web.words import (
    condition_words,
    read_by,
    score_brief,
    score_words,
    thresholds,
)
from tasks.policy.rules import SCORE_NAMES


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_every_score_of_a_policy_has_plain_words_of_its_own(name: str) -> None:
    said = score_words(name)
    assert said[0].isupper()
    assert not set(said) & set("._"), said
    assert [score_words(other) for other in SCORE_NAMES].count(said) == 1


def test_what_is_asked_of_words_alone_is_said_and_drawn_there() -> None:
    condition = {"score": "offensive", "comparison": ">=", "threshold": 0.7, "value": 0.91}
    assert condition_words(condition) == (
        "Offensiveness of the words alone is 0.91; the rule fires at 0.70 or more"
    )
    assert [read_by(name) for name in ("hateful", "sarcasm", "image_alone.sarcasm")] == [
        "text_alone",
        "together",
        "image_alone",
    ]
    drawn = thresholds([{"conditions": [condition, {**condition, "threshold": 0.6}]}])
    assert drawn == {"together": {}, "text_alone": {"offensive": 0.6}, "image_alone": {}}


@pytest.mark.parametrize("name", ["unread", "unlearnt"])
def test_what_is_so_or_not_is_said_without_a_number(name: str) -> None:
    condition = {"score": name, "comparison": ">=", "threshold": 1.0, "value": 1.0}
    assert condition_words(condition) == score_words(name)
    # A rule may ask for the opposite, together with something else.
    assert "is 0.00" in condition_words({**condition, "comparison": "<", "value": 0.0})


def test_a_tag_shows_the_first_score_that_had_to_be_high() -> None:
    low = {"score": "sarcasm", "comparison": "<", "threshold": 0.3, "value": 0.1}
    high = {"score": "hateful", "comparison": ">=", "threshold": 0.6, "value": 0.826}
    unread = {"score": "unread", "comparison": ">=", "threshold": 1, "value": 1}
    language = {"score": "language", "comparison": "==", "threshold": "de", "value": "de"}
    assert score_brief({"rule": "mean", "conditions": [language, low, high]}) == ".83"
    assert score_brief({"rule": "sure", "conditions": [{**high, "value": 1.0}]}) == "1.00"
    assert score_brief({"rule": "unread", "conditions": [unread]}) == ""
    assert score_brief({"rule": "old"}) == ""
