"""How much is pushed, what goes wrong and when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "worker killed",
    "housekeeping killed",
    "valkey stopped",
    "valkey killed",
    "postgresql stopped",
    "postgresql killed",
    "source answers 500",
    "source hangs",
]
Fate = Literal["judged", "gone", "dead_letter"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at_seconds: after the first push.
        for_seconds: how long it stays wrong; a killed worker is started again by its supervisor.
    """

    at_seconds: float
    kind: Kind
    for_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        seconds: over which posts are pushed and faults injected.
        away_seconds: longest absence of a stopped server.
        long_absence_seconds: of Valkey, the first time that it is stopped; 0 for none longer.
        outage_seconds: of the source; half of it answers 500, half hangs.
        source_delay_seconds: longest pause of the source before an answer, so that faults find
            chunks in hand.
    """

    seed: int
    posts: int
    workers: int
    seconds: float
    worker_kills: int
    valkey_stops: int
    valkey_kills: int
    postgresql_stops: int
    postgresql_kills: int
    outage_seconds: float
    away_seconds: float = 4.0
    source_delay_seconds: float = 1.0
    lease_seconds: float = 4.0
    long_absence_seconds: float = 0.0
    housekeeping_kills: int = 0

    def faults(self) -> list[Fault]:
        """What goes wrong, in order of time."""
        chance = random.Random(self.seed)
        faults = [
            Fault(chance.uniform(0, self.seconds), "worker killed")
            for _ in range(self.worker_kills)
        ]
        servers: list[Kind] = ["valkey stopped"] * self.valkey_stops
        servers += ["valkey killed"] * self.valkey_kills
        servers += ["postgresql stopped"] * self.postgresql_stops
        servers += ["postgresql killed"] * self.postgresql_kills
        chance.shuffle(servers)
        # Each in a slice of time of its own, so that every absence has an end to recover from.
        slices = self.seconds / max(1, len(servers))
        for number, kind in enumerate(servers):
            at = number * slices + chance.uniform(0, slices / 2)
            for_seconds = chance.uniform(0.5, self.away_seconds)
            if kind == "valkey stopped" and "valkey stopped" not in servers[:number]:
                for_seconds = max(for_seconds, self.long_absence_seconds)
            faults.append(Fault(at, kind, for_seconds))
        if self.outage_seconds:
            at = chance.uniform(0.1, 0.4) * self.seconds
            half = self.outage_seconds / 2
            faults.append(Fault(at, "source answers 500", half))
            faults.append(Fault(at + half, "source hangs", half))
        faults += [
            Fault(chance.uniform(0, self.seconds), "housekeeping killed")
            for _ in range(self.housekeeping_kills)
        ]
        return sorted(faults, key=lambda fault: fault.at_seconds)

    def platform_posts(self) -> dict[str, dict[str, Any] | None]:
        """Every post id, with the post that the platform has, or None where it is gone."""
        return {f"post-{n}": _post(n) for n in range(self.posts)}

    def fate(self, post_id: str) -> Fate:
        """What must become of a post."""
        number = int(post_id.rpartition("-")[2])
        if number % 50 == 7:
            return "gone"
        return "dead_letter" if number % 50 == 23 else "judged"

    def bursts(self) -> Iterator[tuple[float, str, list[str]]]:
        """When to push which ids with which priority: a steady stream, in bursts."""
        chance = random.Random(self.seed + 1)
        ids = [f"post-{n}" for n in range(self.posts)]
        chance.shuffle(ids)
        pushed = 0
        while pushed < len(ids):
            size = chance.choice((1, 2, 5, 10, 40))
            burst = ids[pushed : pushed + size]
            priority = chance.choice(("high", "normal", "normal", "low"))
            yield pushed / len(ids) * self.seconds, priority, burst
            pushed += len(burst)


PICTURES = 20


def _post(number: int) -> dict[str, Any] | None:
    if number % 50 == 7:
        return None
    if number % 50 == 23:
        return {"text": 42}
    mood = "this is the worst day, I hate it" if number % 3 == 0 else "what a lovely day"
    post: dict[str, Any] = {"text": f"{mood} {number}", "author": f"author {number % 10}"}
    if number % 20 == 0:
        post["images"] = [f"{number // 20 % PICTURES}.jpg"]
    return post


LONG = Plan(
    seed=5,
    posts=10_000,
    workers=3,
    seconds=480.0,
    worker_kills=30,
    valkey_stops=3,
    valkey_kills=2,
    postgresql_stops=2,
    postgresql_kills=1,
    outage_seconds=120.0,
    away_seconds=10.0,
    long_absence_seconds=60.0,
    housekeeping_kills=10,
)
SHORT = Plan(
    seed=5,
    posts=300,
    workers=2,
    seconds=16.0,
    worker_kills=2,
    valkey_stops=0,
    valkey_kills=1,
    postgresql_stops=1,
    postgresql_kills=0,
    outage_seconds=3.0,
    away_seconds=1.0,
    source_delay_seconds=0.3,
    lease_seconds=2.0,
    housekeeping_kills=1,
)
