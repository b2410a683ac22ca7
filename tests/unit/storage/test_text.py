"""Text from outside, made fit for both databases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.base.text import (
    MAX_PRINTED_POST_ID_BYTES,
    MAX_PRINTED_POST_ID_CHARACTERS,
    clean_json,
    clean_text,
    post_id_problem,
    printed_post_id,
)

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=80)


@given(ANYTHING, st.integers(min_value=0, max_value=60))
def test_any_text_becomes_short_and_storable(text: str, limit: int) -> None:
    clean = clean_text(text, limit)
    assert len(clean) <= limit
    assert "\x00" not in clean
    clean.encode("utf-8")


def test_nul_and_lone_surrogates_stay_visible() -> None:
    assert clean_text("a\x00b\udc80c", 100) == "a\\x00b\\udc80c"


def test_a_cut_is_announced() -> None:
    assert clean_text("x" * 100, 50).endswith("… [cut, 100 characters in all]")


def test_json_is_cleaned_through_and_through() -> None:
    dirty = {"a\x00": [{"problem": "\udcff"}, 1, True, None, float("nan"), np.float32(0.5)]}
    assert clean_json(dirty) == {"a\\x00": [{"problem": "\\udcff"}, 1, True, None, None, 0.5]}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes cannot be stored as JSON"):
        clean_json({"a": b"x"})


@given(ANYTHING)
def test_a_valid_post_id_is_its_own_printed_form(post_id: str) -> None:
    if post_id_problem(post_id) is None:
        assert printed_post_id(post_id) == post_id


@pytest.mark.parametrize("length", [300, 1024, 1025, 5000])
def test_a_printed_post_id_is_bounded_in_characters_and_bytes(length: int) -> None:
    printed = printed_post_id("\U0001f600" * length)
    assert len(printed) <= MAX_PRINTED_POST_ID_CHARACTERS
    assert len(printed.encode()) <= MAX_PRINTED_POST_ID_BYTES


def test_two_long_post_ids_with_the_same_beginning_stay_two() -> None:
    assert printed_post_id("x" * 5000 + "1") != printed_post_id("x" * 5000 + "2")


@pytest.mark.parametrize(
    ("post_id", "problem"),
    [
        ("", "is empty"),
        ("é" * 129, "has 258 bytes; the limit is 256"),
        ("a\x00", "contains a NUL character"),
        ("a\udc80", "is not valid UTF-8"),
    ],
)
def test_a_post_id_that_no_database_takes_is_refused_with_words(post_id: str, problem: str) -> None:
    said = post_id_problem(post_id)
    assert said is not None
    assert problem in said
    assert post_id_problem("é" * 128) is None
