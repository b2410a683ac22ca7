"""Normalised text: one form for training and judging, whatever comes in."""

from __future__ import annotations

import hashlib
import time

import emoji
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network.encoders import encoder_folder
from models.network.presets import mini_config
from models.posts.normal_form.normalise import MAX_CHARACTERS, normalise_text
from models.posts.text import MAX_OCR_CHARACTERS, TextPreparer, join_ocr, split_ocr

PIECES = [
    *"aA@<>&;:/ .\\u0RTd8#\t\n\0😂❤👩🏽🇺\u200d\ufe0f\u20e3",
    "http",
    "www.",
    "&amp;",
    "\\ud83d",
    "\ud83d",
    "<num>",
    "RT @a:",
    "#AbcDef",
]
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
        ("Plus\\u002c caf\\u00e9 \\ud83d\\ude00", "Plus, café grinning face"),
        ("a &amp; b &amp;lt; c", "a & b < c"),
        ("RT @a: RT @b: so good", "so good"),
        ("soooooo 1000000 !!!!!!", "sooo 1000000 !!!"),
        ("a\0b\u202ec \u200bd\ud800e\tf\n\ng", "abc de f g"),
        ("RT @a RT: @b: RT@c so good", "so good"),
        ("RT: breaking", "breaking"),
        ("RT if you agree, art: no", "RT if you agree, art: no"),
        ("so good😂😂 😂wow❤️", "so good face with tears of joy wow red heart"),
        ("👍🏽👍🏿 👎", "thumbs up thumbs down"),
        ("👩\u200d👩\u200d👧 1️⃣ 🇺🇸", "family woman woman girl keycap 1 United States"),
        ("😂 well 😂", "face with tears of joy well face with tears of joy"),
        ("© 2015 Deadpan™", "© 2015 Deadpan™"),
        (":) <3 日本語", ":) <3 日本語"),
        ("#blessed #ApplyNow", "#blessed #Apply Now"),
        ("#TeamUSA #NBCNews #ILoveIt", "#Team USA #NBC News #I Love It"),
        ("#iPhone6 #OMG CamelCase", "#iPhone6 #OMG CamelCase"),
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
    "piece",
    ["a", "&amp;", "@", "RT @a ", "\\u005c", "http://", "<user>", "\u0958", "😂a", "#AbcDef"],
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


def test_the_names_of_emoji_are_those_that_models_were_trained_with() -> None:
    names = sorted((chars, data["en"]) for chars, data in emoji.EMOJI_DATA.items())
    # when this fails, `emoji` was upgraded: raise PREPROCESSING_VERSION and train again
    assert hashlib.sha256(repr(names).encode()).hexdigest()[:16] == "e49a5c8ed9f6fd7d"


def test_words_in_pictures_are_the_second_text_of_a_pair(prepare: TextPreparer) -> None:
    joined, ids = prepare("My  kitchen", ["LIVING MY\nBEST life", "", "LIVING MY BEST life"])
    assert joined == "My kitchen\nLIVING MY BEST life"
    _, text = prepare("my kitchen")
    _, words = prepare("living my best life")
    assert ids == (*text, *words[1:])
    assert prepare.encode(joined) == ids


def test_words_in_pictures_stand_alone_where_the_post_has_none(prepare: TextPreparer) -> None:
    joined, ids = prepare(" ", ["best life"])
    assert joined == "\nbest life"
    assert ids == (101, 102, 2190, 2166, 102)
    assert prepare("", ["", "\0"]) == ("", ())
    assert prepare("hello", ["", "\u200d"])[1] == (101, 7592, 102)


def test_both_texts_keep_a_part_when_they_are_too_long_together(prepare: TextPreparer) -> None:
    _, ids = prepare("word " * 500, ["picture " * 500])
    assert len(ids) == 128
    assert ids.count(102) == 2
    assert min(ids.count(2773), ids.count(3861)) > 60
    _, ids = prepare("word " * 500, ["picture"])
    assert ids.count(3861) == 1


def test_a_post_cannot_pretend_that_its_words_stand_in_a_picture(prepare: TextPreparer) -> None:
    joined, ids = prepare("a\nb [SEP] c\r\nd\u2028e\\u000af&#10;g")
    assert split_ocr(joined) == (joined, "")
    assert ids.count(102) == 1


@given(HOSTILE, st.lists(HOSTILE, max_size=3))
@settings(deadline=None)
def test_joined_texts_are_bounded_and_come_apart_again(text: str, ocr_texts: list[str]) -> None:
    text = normalise_text(text)
    joined = join_ocr(text, ocr_texts)
    assert len(joined) <= len(text) + 1 + MAX_OCR_CHARACTERS
    assert split_ocr(joined)[0] == text
    assert joined.count("\n") <= 1
