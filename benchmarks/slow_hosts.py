"""What posts on image hosts that hang cost the other posts: a worker without and with them.

    python -m benchmarks.slow_hosts [--rounds 3] [--seconds 30] [--rate 10] [--hosts 50]

In each round the same worker gets posts with words alone, at an even pace and two at a time; then
as many again, but the first of each two has ten pictures on hosts that accept and never answer,
and that were not asked in the rounds before. Latency is from the push of a post until its verdict
is written, of the second of each two, which has words alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.measure import median
from storage.base.database import connect
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess, Interrupts

PATIENCE_SECONDS = 180.0


@contextlib.contextmanager
def platform(rounds: Sequence[Sequence[int]]) -> Iterator[str]:
    """Serves any post: `slow-ROUND-…` has ten pictures on one of that round's ports of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            ids = parse_qs(urlsplit(self.path).query).get("ids", [""])[0].split(",")
            body = json.dumps({"posts": [self._post(post_id) for post_id in ids]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _post(self, post_id: str) -> dict[str, object]:
            images = []
            if post_id.startswith("slow-"):
                hosts = rounds[int(post_id.split("-")[1])]
                port = hosts[hash(post_id) % len(hosts)]
                images = [f"http://127.0.0.1:{port}/{post_id}-{k}.jpg" for k in range(10)]
            return {"id": post_id, "text": f"a fine day, {post_id}", "images": images}

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/posts?ids={{ids}}"
    server.shutdown()
    server.server_close()


def push(intake: Intake, name: str, count: int, rate: float, *, slow: bool) -> dict[str, float]:
    """Push posts with words alone at a pace, each after another one, of a slow host if asked for.

    Returns:
        When each was pushed, in seconds since 1970.
    """
    pushed: dict[str, float] = {}
    began_at = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began_at + number / rate - time.monotonic()))
        intake.enqueue([f"{'slow' if slow else 'more'}-{name}-{number}"])
        pushed[f"words-{name}-{number}"] = time.time()
        intake.enqueue([f"words-{name}-{number}"])
    return pushed


def latencies(database: Path, pushed: dict[str, float]) -> list[float]:
    """Seconds from push to verdict, once all have one."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(
                "SELECT post_id, created_at FROM verdicts WHERE post_id LIKE 'words-%'"
            ).fetchall()
        written = {post_id: at for post_id, at in rows if post_id in pushed}
        if len(written) == len(pushed):
            return sorted(
                datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() - pushed[post_id]
                for post_id, at in written.items()
            )
        if time.monotonic() > ends_at:
            sys.exit(f"{len(pushed) - len(written)} of {len(pushed)} posts were not judged")
        time.sleep(0.2)


def quiet(intake: Intake) -> None:
    """Wait until nothing is in hand."""
    while any([*intake.status()["intake"].values(), intake.status()["chunks"]]):
        time.sleep(0.2)


def part(values: Sequence[float], share: float) -> float:
    """A quantile of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measure, and print a table in Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=30.0)
    arguments.add_argument("--rate", type=float, default=10.0, help="posts with words a second")
    arguments.add_argument("--hosts", type=int, default=50)
    wanted = arguments.parse_args()
    count = int(wanted.seconds * wanted.rate)
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    with Interrupts(), ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        valkey = running.enter_context(EmbeddedValkey(folder / "valkey"))
        ports: list[list[int]] = [[] for _ in range(wanted.rounds)]
        for number in range(wanted.rounds * wanted.hosts):
            deaf = running.enter_context(socket.socket())
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(512)
            ports[number % wanted.rounds].append(deaf.getsockname()[1])
        source = running.enter_context(platform(ports))
        database = connect(f"sqlite:///{folder}/deadpan.db")
        migrate(database)
        database.dispose()
        intake = Intake.at(valkey.url)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")} | {
            "DEADPAN_REDIS_URL": valkey.url,
            "DEADPAN_DATABASE_URL": f"sqlite:///{folder}/deadpan.db",
            "DEADPAN_SOURCE": source,
            "DEADPAN_EVIDENCE_URL": str(folder / "evidence"),
            "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
            "DEADPAN_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", "bench@bench"]
        log = folder / "worker.log"
        running.enter_context(
            ChildProcess("worker", command, environment=environment, log_path=log)
        )
        latencies(folder / "deadpan.db", push(intake, "warm", 20, wanted.rate, slow=False))
        for number in range(wanted.rounds):
            for slow in (False, True):
                name = f"{number}-{slow}"
                pushed = push(intake, name, count, wanted.rate, slow=slow)
                values = latencies(folder / "deadpan.db", pushed)
                found[slow].append(values)
                said = f"p50 {part(values, 0.5):.3f} s, p95 {part(values, 0.95):.3f} s"
                print(f"{name}: {said}, most {values[-1]:.3f} s", file=sys.stderr, flush=True)
                quiet(intake)
        intake.close()
    pace = f"{2 * wanted.rate:g} a second in all"
    print(f"| posts with words alone, {pace} | p50 ms | p95 ms | longest ms |")
    print("|---|--:|--:|--:|")
    for slow, rounds in found.items():
        row = "the other half on hosts that hang" if slow else "the other half alike"
        numbers = [
            median([1000 * part(values, share) for values in rounds]) for share in (0.5, 0.95, 1.0)
        ]
        print(f"| {row} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")


if __name__ == "__main__":
    main()
