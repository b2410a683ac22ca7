"""Normalised text: one form for training and judging, whatever comes in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import mini_config
from models.encoders import encoder_folder
from models.text import MAX_CHARACTERS, TextPreparer, normalise_text

PIECES = [*"aA@<>&;:/ .\\u0RTd8\t\n\0", "http", "www.", "&amp;", "\\ud83d", "\ud83d", "<num>"]
HOSTILE = st.text(st.characters(), max_size=200) | st.lists(
    st.sampled_from(PIECES), max_size=100
).map("".join)


@pytest.fixture(scope="module")
def prepare() -> TextPreparer:
    config = mini_config()
    return TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("look https://t.co/abc?x=1 www.example.org now", "look http http now"),
        ("thanks @Some_One and <user>", "thanks @user and @user"),
        ("write to me@example.org", "write to me@example.org"),
        ("<num> times", "0 times"),
        ("Plus\\u002c caf\\u00e9 \\ud83d\\ude00", "Plus, café 😀"),
        ("a &amp; b &amp;lt; c", "a & b < c"),
        ("RT @a: RT @b: so good", "so good"),
        ("soooooo 1000000 !!!!!!", "sooo 1000000 !!!"),
        ("a\0b\u202ec \u200bd\ud800e\tf\n\ng", "abc de f g"),
        ("👩\u200d👩\u200d👧 #blessed ❤️", "👩\u200d👩\u200d👧 #blessed ❤️"),
        ("e\u0301", "é"),
        (" \0\u200b ", ""),
    ],
)
def test_each_rule_of_normalisation(written: str, normalised: str) -> None:
    assert normalise_text(written) == normalised


@given(HOSTILE)
@settings(deadline=None)
def test_normalising_twice_changes_nothing_and_the_result_can_be_stored(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert len(once) <= MAX_CHARACTERS
    once.encode()
    assert "\0" not in once


@pytest.mark.parametrize(
    "piece", ["a", "&amp;", "@", "RT @a ", "\\u005c", "http://", "<user>", "\u0958"]
)
def test_a_text_of_ten_megabytes_costs_no_more_than_a_long_one(piece: str) -> None:
    text = piece * (10_000_000 // len(piece))
    started = time.process_time()
    assert len(normalise_text(text)) <= MAX_CHARACTERS
    # far above what it takes, far below what ten megabytes through a regex would
    assert time.process_time() - started < 2


def test_long_texts_are_cut_and_nothing_is_padded(prepare: TextPreparer) -> None:
    _, ids = prepare("word " * 500)
    assert len(ids) == 128
    _, ids = prepare("hello")
    assert ids == (101, 7592, 102)


@pytest.mark.parametrize("text", ["", "  ", "\u200d", "\0"])
def test_a_text_without_words_has_no_token_ids(prepare: TextPreparer, text: str) -> None:
    assert prepare(text) == ("", ())


def test_a_post_cannot_spell_a_special_token(prepare: TextPreparer) -> None:
    _, ids = prepare("a [SEP] b [PAD] [CLS]")
    assert ids.count(102) == 1
    assert ids.count(101) == 1
    assert 0 not in ids
