"""A paper estimate of large installations, checked by a small simulation.

    python -m benchmarks.paper [--cost decode_post=2.6] [--cost gpu_post=0.4]

Each part of the way of a post has a number of servers and a cost per post or per chunk; the
estimate divides, the simulation plays chunks through the parts with queues between them. Where a
cost comes from, measured or assumed, stands in docs/capacity.md; give your own with `--cost`.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

MS = 1e-3


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the way.

    Attributes:
        servers: how many work at once: cores, GPUs, connections that do not exclude each other.
        per_chunk, per_post: seconds of a server.
    """

    name: str
    servers: int
    per_chunk: float
    per_post: float

    def seconds(self, posts: int) -> float:
        """What a chunk of so many posts takes."""
        return self.per_chunk + posts * self.per_post

    def limit(self, chunk_size: int) -> float:
        """Posts per second that this part can do, with full chunks."""
        return self.servers * chunk_size / self.seconds(chunk_size)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds; the defaults are explained in docs/capacity.md.

    Attributes:
        scripts: of Redis's one thread: dispatch, take and release of a chunk.
        message: of Redis's one thread: a Celery message's push, pop and acknowledgement.
        fsync: of Redis's disk; six writes a chunk, none of them sharing one: the worst case.
        record_chunk, record_post: of the database, one transaction a chunk.
        decode_post: of a core: decoding, resizing and tokenising a post.
        overhead_post, overhead_chunk: of a core, everything else in a worker.
        gpu_post, gpu_chunk: of a GPU, one post in a batch, and starting a batch.
        picture_bytes: of one post, on the network.
        network_bytes: a second, into one worker machine.
    """

    scripts: float = 0.60 * MS
    message: float = 0.10 * MS
    fsync: float = 0.20 * MS
    record_chunk: float = 4.0 * MS
    record_post: float = 0.20 * MS
    decode_post: float = 3.0 * MS
    overhead_post: float = 0.8 * MS
    overhead_chunk: float = 5.0 * MS
    gpu_post: float = 0.33 * MS
    gpu_chunk: float = 2.0 * MS
    picture_bytes: float = 120_000.0
    network_bytes: float = 10e9 / 8


def parts(
    costs: Costs, *, gpus: int, cores: int, machines: int, writers: int = 4
) -> tuple[Part, ...]:
    """The parts of an installation.

    Args:
        cores: of all worker machines together.
        machines: each with one network connection.
        writers: transactions that the database commits side by side.
    """
    queue = costs.scripts + costs.message + 6 * costs.fsync
    return (
        Part("Redis and Celery (one server)", 1, queue, 0.0),
        Part("network", machines, 0.0, costs.picture_bytes / costs.network_bytes),
        Part(
            "decode, tokenise, overhead (cores)",
            cores,
            costs.overhead_chunk,
            costs.decode_post + costs.overhead_post,
        ),
        Part("model (GPUs)", gpus, costs.gpu_chunk, costs.gpu_post),
        Part("database", writers, costs.record_chunk, costs.record_post),
    )


def first_to_break(chain: Sequence[Part], chunk_size: int) -> Part:
    """The part with the lowest limit."""
    return min(chain, key=lambda part: part.limit(chunk_size))


@dataclass(frozen=True, slots=True)
class Played:
    """What a simulation came to.

    Attributes:
        posts_per_second: finished, over the second half of the time.
        p50, p95: seconds from arrival to commit, of posts that finished in that half.
        busy: share of the time that each part's servers worked, by name.
        longest: the most chunks that waited before each part, by name.
    """

    posts_per_second: float
    p50: float
    p95: float
    busy: dict[str, float]
    longest: dict[str, int]


def simulate(
    chain: Sequence[Part],
    *,
    arrivals: float,
    chunk_size: int,
    slots: int,
    seconds: float = 20.0,
    seed: int = 0,
) -> Played:
    """Play posts through the parts, by events.

    Posts arrive at random (Poisson). As in Deadpan, a chunk is made when a slot is free, of as many
    posts as wait, up to the chunk size; it goes through all parts and then frees its slot. The time
    of a chunk at a part varies by a factor between 0.7 and 1.3.

    Args:
        arrivals: posts per second.
        slots: chunks in hand at once, of all workers together.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable, no secret
    numbers = itertools.count()
    events: list[tuple[float, int, str, int, int]] = []
    waiting: list[list[tuple[int, float]]] = [[] for _ in chain]
    free = [part.servers for part in chain]
    busy = [0.0] * len(chain)
    longest = [0] * len(chain)
    chunks: dict[int, list[float]] = {}
    intake: list[float] = []
    done: list[tuple[float, float]] = []
    in_hand = 0

    def begin(place: int, now: float) -> None:
        while waiting[place] and free[place]:
            chunk, _ = waiting[place].pop(0)
            free[place] -= 1
            lasts = chain[place].seconds(len(chunks[chunk])) * dice.uniform(0.7, 1.3)
            busy[place] += min(lasts, max(0.0, seconds - now))
            heapq.heappush(events, (now + lasts, next(numbers), "done", place, chunk))

    def dispatch(now: float) -> None:
        nonlocal in_hand, intake
        while intake and in_hand < slots:
            number = next(numbers)
            chunks[number], intake = intake[:chunk_size], intake[chunk_size:]
            in_hand += 1
            waiting[0].append((number, now))
            longest[0] = max(longest[0], len(waiting[0]))
            begin(0, now)

    # posts come in steps of a millisecond, which keeps the events few
    step = 1 * MS
    heapq.heappush(events, (0.0, next(numbers), "arrive", 0, 0))
    while events:
        now, _, kind, place, chunk = heapq.heappop(events)
        if now > seconds:
            break
        if kind == "arrive":
            count = _poisson(dice, arrivals * step)
            intake += [now] * count
            heapq.heappush(events, (now + step, next(numbers), "arrive", 0, 0))
            dispatch(now)
            continue
        free[place] += 1
        if place + 1 < len(chain):
            waiting[place + 1].append((chunk, now))
            longest[place + 1] = max(longest[place + 1], len(waiting[place + 1]))
            begin(place + 1, now)
        else:
            done += [(now, now - arrived) for arrived in chunks.pop(chunk)]
            in_hand -= 1
            dispatch(now)
        begin(place, now)
    late = sorted(wait for at, wait in done if at > seconds / 2)
    return Played(
        posts_per_second=len(late) / (seconds / 2),
        p50=late[len(late) // 2] if late else float("inf"),
        p95=late[int(len(late) * 0.95)] if late else float("inf"),
        busy={
            part.name: spent / (part.servers * seconds)
            for part, spent in zip(chain, busy, strict=True)
        },
        longest={part.name: most for part, most in zip(chain, longest, strict=True)},
    )


def _poisson(dice: random.Random, mean: float) -> int:
    """A draw, by counting exponential gaps; means here are small."""
    count, left = 0, mean
    while (left := left - dice.expovariate(1.0)) > 0:
        count += 1
    return count


def _given(costs: Sequence[str]) -> Costs:
    """The defaults with `NAME=MILLISECONDS` over them (bytes for the two that are bytes).

    Raises:
        ValueError: no such cost, or no number.
    """
    names = {field.name for field in fields(Costs)}
    found: dict[str, float] = {}
    for cost in costs:
        name, _, value = cost.partition("=")
        if name not in names:
            raise ValueError(f"unknown cost {name!r}; there are {', '.join(sorted(names))}")
        found[name] = float(value) * (1.0 if "bytes" in name else MS)
    return replace(Costs(), **found)


def main() -> None:
    """Print the estimate and what the simulation says to it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--chunk-size", type=int, default=64)
    arguments.add_argument("--cores-per-gpu", type=int, default=16)
    arguments.add_argument("--slots-per-gpu", type=int, default=24)
    arguments.add_argument("--cost", action="append", default=[], metavar="NAME=MILLISECONDS")
    wanted = arguments.parse_args()
    size = wanted.chunk_size
    try:
        costs = _given(wanted.cost)
    except ValueError as error:
        arguments.error(str(error))
    for gpus, machines, wished in ((1, 1, 0.0), (8, 1, 0.0), (8, 2, 10_000.0)):
        cores = gpus * wanted.cores_per_gpu
        if wished:
            # as many cores as the wish needs, with a fifth to spare
            core = parts(costs, gpus=1, cores=1, machines=1)[2]
            cores = math.ceil(1.2 * wished / core.limit(size))
        chain = parts(costs, gpus=gpus, cores=cores, machines=machines)
        print(f"\n**GPUs: {gpus}, cores: {cores}, machines: {machines}**\n")
        _show(chain, size, gpus * wanted.slots_per_gpu, wished)


def _show(chain: Sequence[Part], size: int, slots: int, wished: float) -> None:
    print("| part | servers | ms a chunk | limit posts/s |")
    print("|---|--:|--:|--:|")
    for part in chain:
        print(
            f"| {part.name} | {part.servers} | {1000 * part.seconds(size):.2f} "
            f"| {part.limit(size):,.0f} |"
        )
    weakest = first_to_break(chain, size)
    estimate = weakest.limit(size)
    print(f"\nFirst to break: {weakest.name}, at {estimate:,.0f} posts/s. Simulated:\n")
    print("| arriving | finished | p50 s | p95 s | busiest part | busy |")
    print("|--:|--:|--:|--:|---|--:|")
    for arrivals in [wished] if wished else [0.5 * estimate, 0.9 * estimate, 1.2 * estimate]:
        played = simulate(chain, arrivals=arrivals, chunk_size=size, slots=slots)
        busiest = max(played.busy, key=lambda name: played.busy[name])
        print(
            f"| {arrivals:,.0f} | {played.posts_per_second:,.0f} | {played.p50:.2f} "
            f"| {played.p95:.2f} | {busiest} | {played.busy[busiest]:.0%} |"
        )


if __name__ == "__main__":
    main()
