"""Pictures seen before are known again, within bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.feature_cache import FeatureCache, Features


def features(number: int) -> Features:
    return np.full((1, 8), number, dtype=np.float16)  # 16 bytes


class Shelf:
    """A second tier in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Features] = {}
        self.asked: list[list[str]] = []

    def get(self, sha256s: list[str]) -> dict[str, Features]:
        self.asked.append(sha256s)
        return {one: self.kept[one] for one in sha256s if one in self.kept}

    def put(self, features: Mapping[str, Features]) -> None:
        self.kept |= features


def test_the_oldest_unused_go_first_and_the_bound_holds() -> None:
    cache = FeatureCache(3 * 16)
    cache.put({"a": features(1), "b": features(2), "c": features(3)})
    assert set(cache.get(["a"])) == {"a"}
    cache.put({"d": features(4)})
    assert set(cache.get("abcd")) == {"a", "c", "d"}
    cache.put({"d": features(5)})
    assert set(cache.get("abcd")) == {"a", "c", "d"}
    assert cache.get("d")["d"][0, 0] == 5


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = FeatureCache(0)
    cache.put({"a": features(1)})
    assert cache.get("a") == {}


def test_the_shared_tier_is_asked_once_for_all_that_is_missing() -> None:
    shelf = Shelf()
    first, second = FeatureCache(100, shelf), FeatureCache(100, shelf)
    first.put({"a": features(1), "b": features(2)})
    assert set(second.get(["a", "b", "c", "a"])) == {"a", "b"}
    assert shelf.asked == [["a", "b", "c"]]
    assert set(second.get(["a", "b"])) == {"a", "b"}
    assert len(shelf.asked) == 1
