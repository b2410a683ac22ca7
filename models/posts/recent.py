"""A bounded memory of what was used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentlyUsed(Generic[Value]):
    """Values by key; what was not asked for the longest is forgotten first. Thread-safe.

    Args:
        most: what all values together may cost; 0 keeps none.
        cost: of a value.

    Attributes:
        taken: what the values cost now.
    """

    def __init__(self, most: int, cost: Callable[[Value], int] = lambda _: 1) -> None:
        self.taken = 0
        self._most = most
        self._cost = cost
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, keys: Iterable[str]) -> dict[str, Value]:
        """Those that are known."""
        found = {}
        with self._lock:
            for key in keys:
                if key in self._values:
                    self._values.move_to_end(key)
                    found[key] = self._values[key]
        return found

    def add(self, key: str, value: Value) -> None:
        """Remember a value; one that alone costs more than `most` is not kept."""
        if self._cost(value) > self._most:
            return
        with self._lock:
            if key in self._values:
                self.taken -= self._cost(self._values.pop(key))
            self._values[key] = value
            self.taken += self._cost(value)
            while self.taken > self._most:
                self.taken -= self._cost(self._values.popitem(last=False)[1])
