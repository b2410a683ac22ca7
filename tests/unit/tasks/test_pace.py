"""The size of a chunk follows the pace."""

from __future__ import annotations

from tasks.watches.pace import Pace


def test_a_fast_worker_gets_full_chunks_and_a_slow_one_small_ones() -> None:
    pace = Pace(64, chunk_seconds=5.0)
    assert pace.posts == 64
    pace.saw(64, 1.0)
    assert pace.posts == 64
    for _ in range(20):
        pace.saw(64, 64.0)
    assert pace.posts == 5
    for _ in range(20):
        pace.saw(5, 0.1)
    assert pace.posts == 64


def test_a_chunk_never_becomes_too_small_for_every_priority() -> None:
    pace = Pace(64, chunk_seconds=5.0)
    pace.saw(8, 10_000.0)
    assert pace.posts == 4


def test_single_posts_say_nothing_about_the_pace() -> None:
    pace = Pace(64, chunk_seconds=5.0)
    pace.saw(1, 30.0)
    assert pace.posts == 64
