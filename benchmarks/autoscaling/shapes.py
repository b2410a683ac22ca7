"""Shapes of load: how many posts come in each second."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

NOISE, NOISE_SECONDS = 0.05, 60.0
"""The rate wanders by so much (standard deviation, relative), with so long a memory."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A load to follow.

    Attributes:
        live: posts of normal priority in each second.
        low: posts of low priority in each second; empty where there are none.
        away: seconds from and until which the source answers nobody.
        floor: least number of workers.
    """

    name: str
    live: tuple[int, ...]
    low: tuple[int, ...] = ()
    away: tuple[int, int] | None = None
    floor: int = 1

    @property
    def seconds(self) -> int:
        """How long it lasts."""
        return len(self.live)


def shapes(seed: int, *, short: bool = False) -> list[Shape]:
    """All shapes, made of one seed.

    Args:
        short: much shorter ones, for tests.
    """
    hour = 360 if short else 3600
    day = 24 * hour
    backfill = 100_000 if short else 10_000_000
    chance = random.Random(seed)  # noqa: S311 - not for secrets

    def live(seconds: int, rate: Callable[[int], float]) -> tuple[int, ...]:
        wander, kept = 0.0, math.exp(-1 / NOISE_SECONDS)
        came = []
        for second in range(seconds):
            wander = kept * wander + math.sqrt(1 - kept**2) * chance.gauss(0.0, NOISE)
            came.append(poisson(chance, rate(second) * math.exp(wander - NOISE**2 / 2)))
        return tuple(came)

    start, end = hour // 3, hour // 3 + hour // 6
    pushed = hour // 2
    gone, back = 2 * hour, 2 * hour + hour // 6
    return [
        Shape("steady", live(2 * hour, lambda _: 1000.0)),
        Shape("daily wave", live(day, lambda t: 1000.0 - 900.0 * math.cos(2 * math.pi * t / day))),
        Shape("news spike ×20", live(hour, lambda t: 4000.0 if start <= t < end else 200.0)),
        Shape(
            "backfill of 10 M",
            live(8 * hour, lambda _: 1000.0),
            low=tuple(backfill if t == pushed else 0 for t in range(8 * hour)),
        ),
        Shape("source outage", live(6 * hour, lambda _: 1000.0), away=(gone, back)),
        Shape(
            "quiet, three bursts",
            tuple(20_000 if t % hour == start and t < 3 * hour else 0 for t in range(4 * hour)),
            floor=0,
        ),
    ]


def poisson(chance: random.Random, mean: float) -> int:
    """A Poisson number; by its normal limit where that is near enough."""
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, product, number = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        number += 1
    return number
