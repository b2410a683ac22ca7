"""Long texts are read in windows: all of them, up to a bound, and what is beyond it is said."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network.encoders import encoder_folder
from models.network.presets import mini_config
from models.posts.normal_form.normalise import MAX_CHARACTERS
from models.posts.text import TextPreparer, split_ocr
from models.posts.windows import MAX_WINDOWS, cut


@pytest.fixture(scope="module")
def prepare() -> TextPreparer:
    config = mini_config()
    return TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)


def numbered(count: int, what: str = "w") -> list[str]:
    return [f"{what}{n}" for n in range(count)]


@pytest.mark.parametrize("count", [5, 30, 60, 110, 150])
@pytest.mark.parametrize("in_pictures", [0, 5, 150])
def test_every_word_is_in_a_window(prepare: TextPreparer, count: int, in_pictures: int) -> None:
    words, seen = numbered(count), numbered(in_pictures, "p")
    (read,) = prepare.all([(" ".join(words), [" ".join(seen)])])
    if not read.windows:
        assert read.token_ids == prepare.encode(read.text)
        assert len(read.token_ids) <= 128
        return
    assert read.unread == ()
    assert read.token_ids == read.windows[0].token_ids
    assert len(read.windows) <= MAX_WINDOWS
    found: list[set[str]] = [set(), set()]
    for window in read.windows:
        assert len(window.token_ids) <= 128
        assert window.token_ids == prepare.encode(window.text)
        own, shown = split_ocr(window.text)
        assert read.text[slice(*window.own)] == own
        assert read.text[slice(*window.in_pictures)] == shown
        found[0].update(own.split())
        found[1].update(shown.split())
    assert found[0] >= set(words)
    assert found[1] >= set(seen)


def test_a_text_that_fits_has_no_windows(prepare: TextPreparer) -> None:
    fits, long = prepare.all([("word " * 126, []), ("word " * 127, [])])
    assert (fits.windows, len(fits.token_ids)) == ((), 128)
    assert len(long.windows) == 2


@pytest.mark.parametrize(
    "text", ["今日は最悪" * 200, "ab" * 400 + " cd" * 300, "😂😁" * 200, "xy-" * 400]
)
def test_texts_without_spaces_are_read_too(prepare: TextPreparer, text: str) -> None:
    (read,) = prepare.all([(text, [])])
    assert read.windows
    end = 0
    for window in read.windows:
        assert window.own[0] <= end
        end = window.own[1]
    assert end == len(read.text) or read.unread


def test_what_is_beyond_the_last_window_is_said_in_characters_of_the_author(
    prepare: TextPreparer,
) -> None:
    text = "<p>" + " ".join(numbered(2000)) + "</p>"
    (read,) = prepare.all([(text, [])])
    (unread,) = read.unread
    assert unread.as_row() == {"what": "text", "problem": unread.problem}
    cut_, after, number, of, total, characters = unread.problem.split()
    assert (cut_, after, of, characters) == ("cut", "after", "of", "characters")
    assert int(total) == len(text)
    last = read.windows[-1].text.split()[-1]
    assert text[: int(number)].endswith(last)
    assert not text[int(number)].isalnum()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello " + " " * MAX_CHARACTERS, None),
        ("hello " + " " * MAX_CHARACTERS + "bad", f"cut after {MAX_CHARACTERS} of 10009"),
        ("hello " + "\u200b" * MAX_CHARACTERS + "bad", "of 10009 characters"),
        ("\u200b" * MAX_CHARACTERS + "bad", "cut after 10000 of 10003 characters"),
        ("a" * 11_000, "of 11000 characters"),
    ],
)
def test_what_is_hidden_behind_a_lot_of_nothing_is_said(
    prepare: TextPreparer, text: str, said: str | None
) -> None:
    (read,) = prepare.all([(text, [])])
    assert bool(read.unread) is (said is not None)
    assert said is None or said in read.unread[0].problem


def test_words_in_pictures_that_are_too_many_are_said(prepare: TextPreparer) -> None:
    (read,) = prepare.all([("hello", ["word " * 100, "other " * 100])])
    assert [one.problem for one in read.unread] == [
        "the words in its pictures: cut after 1000 of 1099 characters"
    ]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=400), st.integers(8, 126))
@settings(deadline=None)
def test_windows_cover_a_text_and_are_never_too_long(lengths: list[int], most: int) -> None:
    text, spans, at = "", [], 0
    for length in lengths:
        text += "x" * length + (" " if length % 3 else "")
        spans.append((at, at + length))
        at = len(text)
    windows = cut(text, spans, most)
    assert windows[0][0] == 0
    assert windows[-1][1] == spans[-1][1]
    for start, end in windows:
        assert 1 <= sum(start <= a and b <= end for a, b in spans) <= most
    for (_, end), (start, _) in pairwise(windows):
        assert start <= end, "nothing is left out"
    assert len(windows) <= 2 + 2 * len(spans) // most
