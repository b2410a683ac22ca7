"""Predictions of posts that were judged a moment ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from models.prediction import Prediction


class Recent:
    """Predictions by what the model saw; the oldest unused go first.

    Safe to use from several threads.

    Args:
        most: predictions kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Any, Prediction] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, seen: Iterable[Any]) -> dict[Any, Prediction]:
        """Those that are known."""
        found = {}
        with self._lock:
            for one in seen:
                if one in self._kept:
                    self._kept.move_to_end(one)
                    found[one] = self._kept[one]
        return found

    def put(self, predictions: Mapping[Any, Prediction]) -> None:
        """Keep them."""
        with self._lock:
            for seen, prediction in predictions.items():
                self._kept[seen] = prediction
                self._kept.move_to_end(seen)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
