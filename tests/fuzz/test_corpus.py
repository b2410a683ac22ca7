"""The kept corpus and some random bytes, through every target. `make fuzz` searches for more."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import CORPUS, seeds
from tests.fuzz.targets import TARGETS

MAX_CORPUS_BYTES = 300_000
KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_breaks_no_promise_again(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it makes good
        TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", ["picture", "posts", "url", "address", "text", "words"])
def test_any_bytes_at_all_break_no_promise(target: str) -> None:
    beginnings = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBPVP8X"]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(beginnings), st.binary(max_size=300))
    def run(beginning: bytes, rest: bytes) -> None:
        TARGETS[target](beginning + rest)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()


def test_the_corpus_is_small_and_its_seeds_are_those_that_the_script_writes() -> None:
    assert sum(path.stat().st_size for path in KEPT) <= MAX_CORPUS_BYTES
    assert {path.parent.name for path in KEPT} == set(TARGETS)
    written = {(p.parent.name, p.name) for p in KEPT if p.name.startswith("seed-")}
    assert written == {
        (target, f"seed-{name}") for target, files in seeds().items() for name in files
    }
