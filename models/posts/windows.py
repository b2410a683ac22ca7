"""Long texts are read in windows that overlap. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

MAX_WINDOWS = 8
"""Of one post, at most: about 850 tokens of a model that takes 128. What comes after is not read,
and the verdict says so; a post costs no more than eight short ones."""

OVERLAP = 16
"""Tokens that two windows share, about a dozen words: a phrase at a seam is read whole in one."""


def cut(text: str, spans: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Windows over a text, the last one as long as the others: of each, its first character and
    after its last one; together all of the text.

    Args:
        text: that is read.
        spans: of each of its tokens, first character and after the last.
        most: tokens in a window.
    """
    count = len(spans)
    overlap = min(OVERLAP, most // 4)
    found: list[tuple[int, int]] = []
    start = 0
    while True:
        end = min(start + most, count)
        if end < count:
            end = _word_start(text, spans, end, start + most - overlap)
        elif found:
            start = _word_start(text, spans, max(count - most, 0), 0, forwards=overlap)
        found.append((spans[start][0], spans[end - 1][1]))
        if end == count:
            return found
        start = _word_start(text, spans, end - overlap, start + 1)


def _word_start(
    text: str, spans: Sequence[tuple[int, int]], at: int, least: int, forwards: int = 0
) -> int:
    """The nearest token before `at`, or up to `forwards` after it, that begins a word; `at` itself
    where there is none, as in a script without spaces."""
    places = range(at, at + forwards) if forwards else range(at, max(least, at - OVERLAP) - 1, -1)
    for place in places:
        start = spans[place][0]
        if start == 0 or text[start - 1].isspace():
            return place
    return at
