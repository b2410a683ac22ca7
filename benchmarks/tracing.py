"""What log lines and spans cost a worker: CPU time of the whole process, side by side.

Each round judges a chunk of new posts once in every way, in an order that changes, on one model in
one process; the collector is another process. Ratios are taken within a round, so that a busy
machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from deadpan.core import logs, spans
from deadpan.core.settings import load
from sources.post import FetchedImage, FetchedPost, FetchResult, Post
from sources.source import PostSource
from storage.base.database import connect
from storage.judging.evidence import EvidenceStore
from storage.judging.values import NewVerdict, Recorded
from storage.migrations.schema import migrate
from tasks.intake.chunks import Chunk, Entry
from tasks.intake.intake import Intake
from tasks.intake.leases import LeaseKeeper
from tasks.moderate.chunk_trace import in_hand
from tasks.moderate.judge import Judge
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.runner import ChunkRunner
from tasks.moderate.stages import timed
from tasks.policy.rules import load_policy
from tasks.watches.tries import Tries
from worker.local.embedded import EmbeddedValkey
from worker.model import load_classifier

COLLECTOR = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
WAYS = {
    "no log lines": ("warning", None),
    "log lines (the default)": ("info", None),
    "and spans of 1 post in 100": ("info", "0.01"),
    "and spans of every post": ("info", "1"),
}


class NewPosts(PostSource):
    """Posts that nobody has seen: words and a picture of 640 x 480, each its own."""

    def __init__(self) -> None:
        self._random = random.Random(7)  # noqa: S311 - no secret

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """One post for each id."""
        return {post_id: self._one(post_id) for post_id in post_ids}

    def _one(self, post_id: str) -> FetchedPost:
        noise = Image.frombytes("RGB", (32, 24), self._random.randbytes(32 * 24 * 3))
        buffer = io.BytesIO()
        noise.resize((640, 480)).save(buffer, "JPEG")
        image = FetchedImage("picture", buffer.getvalue(), None)
        return FetchedPost(
            Post(post_id, f"what a day {post_id}, I love it when it rains"), (image,)
        )

    def close(self) -> None:
        """Nothing to give back."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--posts", type=int, default=64, help="in a chunk")
    parser.add_argument("--times", type=int, default=200, help="each chunk is followed alone")
    asked = parser.parse_args(arguments)
    collector = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert collector.stdout is not None
        port = int(collector.stdout.readline())
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
        with tempfile.TemporaryDirectory() as folder:
            alone = _alone(posts=asked.posts, times=asked.times)
            judged = _measure(Path(folder), rounds=asked.rounds, posts=asked.posts)
            _print(judged, alone, asked.posts)
    finally:
        collector.terminate()
        collector.wait()


def _measure(folder: Path, *, rounds: int, posts: int) -> dict[str, list[float]]:
    classifier = load_classifier(load({}))
    classifier.warm()
    database = connect(f"sqlite:///{folder / 'deadpan.db'}")
    migrate(database)
    with EmbeddedValkey(folder / "valkey") as valkey:
        intake = Intake.at(valkey.url)
        leases = LeaseKeeper(intake, lease_seconds=120.0)
        tries = Tries(3, 1.0)
        judge = Judge(
            source=NewPosts(),
            classifier=classifier,
            policy=load_policy(""),
            database=database,
            evidence=EvidenceStore(str(folder / "evidence")),
            tries=tries,
            explain=False,
        )
        runner = ChunkRunner(
            judge, intake=intake, leases=leases, database=database, tries=tries, report="all"
        )
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        shuffle = random.Random(1)  # noqa: S311 - no secret
        for number in range(-1, rounds):
            for way in shuffle.sample(list(WAYS), len(WAYS)):
                used = _one_chunk(runner, intake, way, posts, f"{number}-{way}")
                if number >= 0:  # the first round is not counted: it fills caches
                    seconds[way].append(used)
        intake.close()
    database.dispose()
    return seconds


def _alone(*, posts: int, times: int) -> dict[str, float]:
    """Seconds of CPU for one post: only what follows it, without judging it."""
    ids = [f"post-{number}" for number in range(posts)]
    chunk = Chunk("c" * 32, "me", 0, tuple(Entry(f"n{name}".encode(), 0) for name in ids))
    outcomes = Outcomes(Tries(3, 1.0))
    outcomes.verdicts += [
        NewVerdict(name, "0" * 64, "m", "c", "p", 0.2, 0.3, 0.5, 0.1) for name in ids
    ]
    recorded = Recorded({name: n for n, name in enumerate(ids)}, {}, {}, 0, 0, 0)
    seconds = {}
    for way, (level, share) in WAYS.items():
        with _logging(level), _recording(share):
            began = time.process_time()
            for _ in range(times):
                with in_hand(chunk, dispatched_at=None) as traced:
                    for stage in ("lookup", "fetch", "lookup", "prepare", "predict", "prepare"):
                        with timed(stage, {}):
                            pass
                    for stage in ("decide", "record"):
                        with timed(stage, {}):
                            pass
                    traced.tell(outcomes, recorded)
            spans.stop()
            seconds[way] = (time.process_time() - began) / times / posts
    return seconds


@contextmanager
def _logging(level: str) -> Iterator[None]:
    """Log lines go nowhere, but are made."""
    logs.configure(level, "json")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(nowhere)
        yield


@contextmanager
def _recording(share: str | None) -> Iterator[None]:
    """Spans of this share of posts; what was recorded is encoded and sent before the end."""
    if share is not None:
        os.environ["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
        os.environ["OTEL_TRACES_SAMPLER_ARG"] = share
        spans.start("on", "benchmark")
    try:
        yield
    finally:
        spans.stop()


def _one_chunk(runner: ChunkRunner, intake: Intake, way: str, posts: int, name: str) -> float:
    level, share = WAYS[way]
    with _logging(level), _recording(share):
        # Bare ids, as a producer pushes them.
        intake.client.rpush(intake.list_key("normal"), *(f"{name}-{n}" for n in range(posts)))
        chunk = intake.dispatch(chunk_size=posts, lease_seconds=60.0)
        assert chunk is not None
        assert chunk.posts == posts
        began = time.process_time()
        assert runner.run(chunk.chunk_id, owner="benchmark")
        spans.stop()  # what was recorded is encoded and sent within what is measured
        return time.process_time() - began


def _print(seconds: dict[str, list[float]], alone: dict[str, float], posts: int) -> None:
    base = seconds["log lines (the default)"]
    print("| way | alone, \u00b5s a post | CPU ms a post | against the default | quartiles |")
    print("|---|--:|--:|--:|--:|")
    for way, used in seconds.items():
        ratios = [mine / other for mine, other in zip(used, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {way} | {alone[way] * 1e6:.0f} | {statistics.median(used) / posts * 1000:.2f} "
            f"| {middle:.3f} | {low:.3f} to {high:.3f} |"
        )


if __name__ == "__main__":
    main()
