"""The bare loop: bytes in memory, decode, tokenise, predict. No queue, no HTTP, no SQL.

    python -m benchmarks.programs.limit COUNT [POSTS.jsonl]

A few ways to batch are tried on posts of their own, and the best one is measured. Prints one JSON
object: what was chosen, posts, seconds, CPU seconds by stage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks.programs.model import load_classifier
from benchmarks.stages import MODEL, StageClock
from benchmarks.workload import WARM_COPY, Workload
from models.posts.prediction import PreparedPost

TRIALS = ((16, 1), (32, 1), (32, 2), (64, 1), (64, 2))
"""(posts in a batch, threads that decode) to choose from."""
TRIAL_POSTS = 192

Raw = tuple[str, list[bytes]]


def run(
    posts: Sequence[Raw],
    *,
    prepare: Callable[[str, list[bytes]], PreparedPost],
    predict: Callable[[Sequence[PreparedPost]], object],
    batch: int,
    threads: int,
) -> float:
    """Judge posts: while one batch is in the model, the next two are prepared.

    Returns:
        Seconds.
    """
    started = time.monotonic()
    starts = range(0, len(posts), batch)
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[list[Future[PreparedPost]]] = []
        following = iter(starts)
        for _ in starts:
            while len(waiting) < 3 and (start := next(following, None)) is not None:
                waiting.append(
                    [pool.submit(prepare, *post) for post in posts[start : start + batch]]
                )
            predict([future.result() for future in waiting.pop(0)])
    return time.monotonic() - started


def main() -> None:
    """Choose, measure, print."""
    count = int(sys.argv[1])
    workload = Workload(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    clock = StageClock()
    clock.install(*MODEL)
    classifier = load_classifier()

    def posts(tag_count: int, first_copy: int) -> list[Raw]:
        ids = workload.ids(tag_count, "limit", first_copy=first_copy)
        return [(workload.text(post_id), workload.images(post_id)) for post_id in ids]

    def timed(chosen: Sequence[Raw], batch: int, threads: int) -> float:
        return run(
            chosen,
            prepare=classifier.prepare,
            predict=classifier.predict,
            batch=batch,
            threads=threads,
        )

    trial_posts = min(count, TRIAL_POSTS)
    timed(posts(min(64, trial_posts), WARM_COPY), 32, 2)
    tried = {
        trial: timed(posts(trial_posts, WARM_COPY + 100 * (number + 1)), *trial)
        for number, trial in enumerate(TRIALS)
    }
    batch, threads = min(tried, key=lambda trial: tried[trial])
    chosen = posts(count, 0)
    before = clock.snapshot()
    seconds = timed(chosen, batch, threads)
    after = clock.snapshot()
    info = classifier.info
    print(
        json.dumps(
            {
                "posts": count,
                "seconds": seconds,
                "batch": batch,
                "threads": threads,
                "model": info.name,
                "engine": info.engine,
                "device": info.device,
                "stages": {name: after[name] - before[name] for name in after},
            }
        )
    )


if __name__ == "__main__":
    main()
