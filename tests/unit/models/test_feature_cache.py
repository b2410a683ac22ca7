"""Features of pictures that were seen before: bounded, shared, and never in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from models.serving.feature_cache import FeatureCache, features_identity

DIM = 50


class Shelf:
    """A store in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self.saved: list[int] = []

    def load(self, names: Iterable[str], size: int) -> dict[str, bytes]:
        wanted = list(names)
        self.asked.append(wanted)
        return {name: self.values[name] for name in wanted if name in self.values}

    def save(self, values: Mapping[str, bytes], size: int) -> None:
        assert all(len(value) == size for value in values.values())
        self.saved.append(len(values))
        self.values |= values


def cache(max_bytes: int = 2**20, store: Shelf | None = None, identity: str = "m") -> FeatureCache:
    return FeatureCache(max_bytes, identity=identity, dim=DIM, regions=1, store=store)


def features(value: float) -> np.ndarray:
    return np.full((1, DIM), value, dtype=np.float16)


def test_what_was_added_is_found_and_what_was_not_is_not() -> None:
    known = cache()
    known.add("a", features(1.5))
    found = known.load(["a", "b", "a"])
    assert list(found) == ["a"]
    assert np.array_equal(found["a"], features(1.5))


def test_memory_is_bounded_and_keeps_what_was_used_last() -> None:
    known = cache(max_bytes=5000)
    for number in range(100):
        known.add(str(number), features(number))
        known.load(["0"])
        assert known._memory.taken <= 5000
    assert list(known.in_memory(["0", "1", "98", "99"])) == ["0", "98", "99"]
    nothing = cache(max_bytes=0)
    nothing.add("a", features(1))
    assert nothing.load(["a"]) == {}
    assert nothing._memory.taken == 0


def test_the_store_is_asked_once_a_chunk_and_only_for_what_memory_lacks() -> None:
    shelf = Shelf()
    first, second = cache(store=shelf), cache(store=shelf)
    for name in "abc":
        first.add(name, features(ord(name)))
    first.save()
    first.save()
    assert shelf.saved == [3]
    second.add("c", features(ord("c")))
    found = second.load(["a", "b", "c", "d"])
    assert {name: float(value[0, 0]) for name, value in found.items()} == {
        "a": 97.0, "b": 98.0, "c": 99.0
    }  # fmt: skip
    assert shelf.asked == [["m:a", "m:b", "m:d"]]
    second.load(["a", "b"])
    assert len(shelf.asked) == 1, "what came from the store stays in memory"


def test_another_model_never_gets_these_features() -> None:
    shelf = Shelf()
    mine, other = cache(store=shelf, identity="m"), cache(store=shelf, identity="n")
    mine.add("a", features(1))
    mine.save()
    assert other.load(["a"]) == {}
    one = features_identity(model="x", engine="torch", max_image_pixels=100)
    assert one == features_identity(engine="torch", model="x", max_image_pixels=100)
    assert one != features_identity(model="x", engine="torch", max_image_pixels=101)


def test_damaged_values_in_the_store_are_ignored() -> None:
    shelf = Shelf()
    shelf.values = {
        "m:short": b"x" * (2 * DIM - 1),
        "m:long": b"\0" * (4 * DIM),
        "m:empty": b"",
        "m:nan": features(float("nan")).tobytes(),
        "m:fine": features(2).tobytes(),
    }
    assert list(cache(store=shelf).load(["short", "long", "empty", "nan", "fine"])) == ["fine"]


def test_features_that_float16_cannot_hold_are_not_kept() -> None:
    shelf = Shelf()
    known = cache(store=shelf)
    known.add("a", features(float("inf")))
    known.save()
    assert known.load(["a"]) == {}
    assert shelf.values == {}
