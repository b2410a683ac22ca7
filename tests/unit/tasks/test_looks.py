"""Which posts that no rule flagged are looked at."""

from __future__ import annotations

import tomllib

import pytest

from deadpan.core.errors import ConfigurationError
from tasks.policy.looks import BLIND_FLAGS, Looks
from tasks.policy.rules import parse_policy

POLICY = parse_policy(
    tomllib.loads(
        """
        [[rules]]
        name = "hateful"
        when = "hateful >= 0.5 and language == en"
        queue = "words"
        priority = 90
        [[rules]]
        name = "positive-words"
        when = "sarcasm >= 0.7 and sentiment.negative < 0.2"
        queue = "sarcasm"
        priority = 40
        [queues.sarcasm]
        decide_within = "4h"
        """
    )
)
FAR = {"sarcasm": 0.1, "sentiment.negative": 0.1}
NEAR = {"sarcasm": 0.68, "sentiment.negative": 0.1}


def drawn(looks: Looks, scores: dict[str, float], number: int = 4000) -> set[str]:
    ids = [f"post {n}" for n in range(number)]
    return {each for each in ids if looks.draw(each, POLICY, scores)}


def test_posts_are_drawn_as_often_as_is_said_and_near_a_threshold_more_often() -> None:
    looks = Looks(0.02, "key")
    assert 0.013 < len(drawn(looks, FAR)) / 4000 < 0.027
    assert 0.37 < len(drawn(looks, NEAR)) / 4000 < 0.43
    far, near = looks.draw("post 7", POLICY, FAR), Looks(1, "key").draw("7", POLICY, NEAR)
    assert far is None or far.inclusion == 0.02
    assert near is not None
    assert near.inclusion == 1


def test_the_same_posts_are_drawn_again_and_others_with_another_key() -> None:
    assert drawn(Looks(0.1, "key"), FAR) == drawn(Looks(0.1, "key"), FAR)
    assert drawn(Looks(0.1, "key"), FAR) != drawn(Looks(0.1, "other key"), FAR)
    # a larger share keeps what a smaller one drew, so nothing is looked at for nothing
    assert drawn(Looks(0.1, "key"), FAR) < drawn(Looks(0.3, "key"), FAR)


def test_a_look_waits_where_the_flags_of_the_nearest_rule_wait() -> None:
    looks = Looks(1, "key")
    near_hate = looks.draw("p", POLICY, {**FAR, "hateful": 0.45}, "en")
    other_language = looks.draw("p", POLICY, {**FAR, "hateful": 0.45}, "de")
    assert near_hate is not None
    assert (near_hate.queue, near_hate.priority) == ("words", 90)
    assert other_language is not None
    assert other_language.queue == "sarcasm"
    assert other_language.decide_within_seconds == 4 * 3600


def test_a_post_that_no_rule_can_speak_of_is_drawn_too() -> None:
    look = Looks(1, "key").draw("p", POLICY, {})
    assert look is not None
    assert look.queue == "words"


def test_nothing_is_drawn_by_default_nor_shown_blind() -> None:
    assert not drawn(Looks(), NEAR)
    assert not any(Looks().blinds(f"post {n}") for n in range(1000))


def test_some_flags_are_shown_as_looks_are() -> None:
    looks = Looks(0.001, "key")
    share = sum(looks.blinds(f"post {n}") for n in range(4000)) / 4000
    assert abs(share - BLIND_FLAGS) < 0.015


def test_a_share_without_a_key_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match="DEADPAN_SECRET_KEY is not set; set it"):
        Looks(0.1)
