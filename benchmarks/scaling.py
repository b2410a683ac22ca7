"""`make bench-scaling`: where the curve bends when there is more of everything.

    python -m benchmarks.scaling [--backlog 1000,100000,1000000] [--verdicts 1000,1000000]
        [--workers 1,2,4] [--parts intake,database,workers] [POSTS.jsonl]

Three parts: what a chunk costs at the intake while ids wait, what recording and looking up cost
while verdicts are there, and how many posts several workers judge. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.measure import MARK, RowFailed, Usage, Verdicts, end_marked, median, percentile
from benchmarks.posts_server import platform_process
from benchmarks.rows.deadpan import Deadpan
from benchmarks.rows.service import Setup, timed
from benchmarks.workload import WARM_COPY, Workload
from deadpan.core.errors import DeadpanError
from storage.base.database import connect, transaction
from storage.judging import queries, tallies
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess, Interrupts

CHUNK = 64
READY_SECONDS = 240.0
FLAGGED = 10
"""One post in so many is flagged."""


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{1000 * median(seconds):.2f} | {1000 * percentile(seconds, 0.95):.2f}"


def intake(backlogs: Sequence[int], folder: Path) -> Iterator[str]:
    """Dispatch, take, release of one chunk while so many ids wait, and what the ids weigh in Redis.

    Yields:
        Lines of a table.
    """
    yield (
        "| ids waiting | dispatch ms | p95 | take ms | p95 | release ms | p95 "
        "| server CPU ms/chunk | MB | bytes an id |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for backlog in backlogs:
        with EmbeddedValkey(folder / f"intake{backlog}") as valkey:
            queue = Intake.at(valkey.url)
            try:
                empty = int(queue.client.info("memory")["used_memory"])
                queue.enqueue(f"post-{number:012d}" for number in range(backlog))
                used = int(queue.client.info("memory")["used_memory"]) - empty
                dispatches, takes, releases = [], [], []
                cpu = _server_cpu_seconds(queue)
                for _ in range(min(200, backlog // CHUNK)):
                    began = time.perf_counter()
                    dispatched = queue.dispatch(chunk_size=CHUNK, lease_seconds=30)
                    assert dispatched
                    sent = time.perf_counter()
                    chunk = queue.take(dispatched.chunk_id, owner="bench", lease_seconds=30)
                    assert chunk
                    taken = time.perf_counter()
                    queue.release(chunk)
                    dispatches.append(sent - began)
                    takes.append(taken - sent)
                    releases.append(time.perf_counter() - taken)
                cpu = _server_cpu_seconds(queue) - cpu
            finally:
                queue.close()
        cells = " | ".join(map(_milliseconds, (dispatches, takes, releases)))
        yield (
            f"| {backlog:,} | {cells} | {1000 * cpu / len(dispatches):.2f} "
            f"| {used / 2**20:.1f} | {used / backlog:.0f} |"
        )


def _server_cpu_seconds(queue: Intake) -> float:
    info = queue.client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def database(sizes: Sequence[int], folder: Path) -> Iterator[str]:
    """Recording and looking up a chunk while so many verdicts are there, on both databases.

    Yields:
        Lines of a table.
    """
    yield (
        f"| database | verdicts | filled in s | GB | look-up of {CHUNK} ms | p95 "
        f"| record {CHUNK} ms | p95 | worker's CPU | record 1 ms | p95 |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for size in sizes:
        path = folder / f"verdicts{size}.db"
        yield _at_size("SQLite", f"sqlite:///{path}", size)
        for file in folder.glob(f"{path.name}*"):
            file.unlink()
    try:
        from tests.postgres import Postgres
    except ImportError as error:
        yield f"| PostgreSQL | | not measured: {error} | | | | | | | | |"
        return
    try:
        # As a server is run: a commit that returned is on the disk.
        server = Postgres(durable=True)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        yield f"| PostgreSQL | | not measured: {why} | | | | | | | | |"
        return
    try:
        server.start()
        for size in sizes:
            url = server.create_database()
            yield _at_size("PostgreSQL", url, size)
            server.drop_database(url)
    finally:
        server.close()


def _at_size(name: str, url: str, size: int) -> str:
    engine = connect(url)
    try:
        migrate(engine)
        began = time.perf_counter()
        fill(engine, size)
        filled = time.perf_counter() - began
        lookups, records, singles, cpu = [], [], [], []
        for number in range(60):
            new = [_verdict(f"new-{number}-{place}", place) for place in range(CHUNK)]
            # half of the chunk was judged before
            step = max(1, size // 100)
            old = [(f"p{(number * step + place) % size}", "0" * 64) for place in range(CHUNK // 2)]
            keys = old + [(verdict.post_id, verdict.content_hash) for verdict in new[: CHUNK // 2]]
            began = time.perf_counter()
            with transaction(engine, read_only=True) as connection:
                known = queries.already_judged(
                    connection, keys, model_version="m", calibration_version="c", policy_version="p"
                )
            looked = time.perf_counter()
            if len(known) != len(set(old)):
                raise RowFailed(f"{len(known)} of {len(set(old))} verdicts found")
            used = time.thread_time()
            with transaction(engine) as connection:
                record(connection, verdicts=new)
            cpu.append(time.thread_time() - used)
            recorded = time.perf_counter()
            with transaction(engine) as connection:
                record(connection, verdicts=[_verdict(f"single-{number}", 1)])
            singles.append(time.perf_counter() - recorded)
            records.append(recorded - looked)
            lookups.append(looked - began)
        # the first few open connections and prepare statements
        lookup, whole, single = (
            _milliseconds(seconds[10:]) for seconds in (lookups, records, singles)
        )
        cells = f"{lookup} | {whole} | {1000 * median(cpu[10:]):.2f} | {single}"
        return f"| {name} | {size:,} | {filled:.0f} | {_gigabytes(engine):.2f} | {cells} |"
    finally:
        engine.dispose()


def _verdict(post_id: str, place: int) -> NewVerdict:
    flag = None
    if place % FLAGGED == 0:
        flag = NewFlag("default", 10, [{"rule": "bench", "score": 0.9}])
    alone = {"negative": 0.2, "neutral": 0.5, "positive": 0.3, "sarcasm": 0.1}
    return NewVerdict(
        post_id,
        f"{place:064x}",
        "m",
        "c",
        "p",
        negative=0.2,
        neutral=0.5,
        positive=0.3,
        sarcasm=0.1,
        text_alone=alone,
        image_alone=alone,
        timings={"fetch": 0.05, "prepare": 0.2, "predict": 0.3, "decide": 0.01},
        author="somebody",
        flag=flag,
    )


_COLUMNS = """post_id, author, content_hash, model_version, calibration_version, policy_version,
    negative, neutral, positive, sarcasm, text_alone, image_alone, degraded, evidence, timings,
    created_at"""
_SCORES = '{"negative": 0.2, "neutral": 0.5, "positive": 0.3, "sarcasm": 0.1}'
_TIMINGS = '{"fetch": 0.05, "prepare": 0.2, "predict": 0.3, "decide": 0.01}'


def fill(engine: Engine, size: int, *, at_once: int = 500_000) -> None:
    """Write verdicts by SQL alone, with the ids p0, p1, …

    Args:
        size: how many.
        at_once: in a transaction.
    """
    sqlite = engine.dialect.name == "sqlite"
    as_json = ":value" if sqlite else "CAST(:value AS jsonb)"
    scores, empty, timings = (
        as_json.replace("value", name) for name in ("scores", "empty", "timings")
    )
    values = (
        f"'p' || n, 'somebody', :hash, 'm', 'c', 'p', 0.2, 0.5, 0.3, 0.1, {scores}, {scores}, "
        f"{empty}, {empty}, {timings}, CURRENT_TIMESTAMP"
    )
    insert = f"INSERT INTO verdicts ({_COLUMNS}) SELECT {values} FROM "  # noqa: S608 - our own
    if sqlite:
        series = "(SELECT :low UNION ALL SELECT n + 1 FROM series WHERE n < :high)"
        statement = f"WITH RECURSIVE series(n) AS {series} {insert} series"
    else:
        statement = f"{insert} generate_series(CAST(:low AS bigint), CAST(:high AS bigint)) AS s(n)"
    content = {"hash": "0" * 64, "scores": _SCORES, "empty": "[]", "timings": _TIMINGS}
    for start in range(0, size, at_once):
        end = min(size, start + at_once)
        with transaction(engine) as connection:
            connection.execute(text(statement), {**content, "low": start, "high": end - 1})
            tallies.add(connection, {"verdicts": end - start})


def _gigabytes(engine: Engine) -> float:
    with transaction(engine, read_only=True) as connection:
        if engine.dialect.name == "sqlite":
            path = Path(engine.url.database or "")
            return sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*")) / 2**30
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return int(size) / 2**30


class _Several(Deadpan):
    """Deadpan with more workers on the same Valkey and SQLite."""

    def __init__(self, setup: Setup, workers: int) -> None:
        super().__init__(setup)
        self._workers = workers

    def _start(self, running: ExitStack) -> None:
        super()._start(running)
        for number in range(2, self._workers + 1):
            running.enter_context(self._named(number))
        deadline = time.monotonic() + READY_SECONDS
        while sum(bool(w["ready"]) for w in self.intake.status()["workers"]) < self._workers:
            if time.monotonic() > deadline:
                raise RowFailed(f"{self._workers} workers were not ready in {READY_SECONDS:.0f} s")
            time.sleep(0.1)

    def _worker(self, environment: dict[str, str]) -> ChildProcess:
        self._environment = environment
        return self._named(1)

    def _named(self, number: int) -> ChildProcess:
        """A worker with a name of its own: by default it is called after its host."""
        options = ["--quiet", "-A", "worker", "worker", "-n", f"w{number}@bench"]
        return ChildProcess(
            "worker",
            [sys.executable, "-m", "celery", *options, "--without-gossip", "--without-mingle"],
            environment=self._environment,
            log_path=self.setup.folder / f"worker{number}.log",
        )


def workers(counts: Sequence[int], posts: int, workload: Workload, folder: Path) -> Iterator[str]:
    """Posts per second of several workers on this machine.

    Yields:
        Lines of a table.
    """
    yield "| workers | posts/s | CPU ms/post | RSS MB |"
    yield "|--:|--:|--:|--:|"
    with platform_process(workload, folder) as platform:
        for count in counts:
            mark = uuid.uuid4().hex
            own = folder / f"w{count}"
            own.mkdir()
            setup = Setup(own, mark, workload, platform.source, posts, 0.0, 0, own)
            os.environ[MARK] = mark
            try:
                yield _with_workers(count, setup)
            except (RowFailed, DeadpanError) as error:
                yield f"| {count} | failed: {' '.join(str(error).split())[:200]} | | |"
            finally:
                with Interrupts.deferred():
                    del os.environ[MARK]
                    end_marked(mark)


def _with_workers(count: int, setup: Setup) -> str:
    with _Several(setup, count) as service, Usage(setup.mark) as usage:
        verdicts = Verdicts(setup.database)
        try:
            warm = setup.workload.ids(128 * count, "warm", first_copy=WARM_COPY)
            timed(service, verdicts, usage, warm)
            result = timed(service, verdicts, usage, setup.workload.ids(setup.count, "new"))
        finally:
            verdicts.close()
    return f"| {count} | {result.rate:.1f} | {result.cpu_ms:.2f} | {usage.rss_mb:.0f} |"


@contextmanager
def _folder(at: Path | None) -> Iterator[Path]:
    """A folder that is gone afterwards; ten million verdicts need about 15 GB there."""
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=at) as name:
        yield Path(name)


def main() -> None:
    """Print the tables of the parts that are wanted."""

    def numbers(given: str) -> list[int]:
        return [int(part) for part in given.replace("_", "").split(",")]

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("posts", nargs="?", type=Path)
    arguments.add_argument("--parts", default="intake,database,workers")
    arguments.add_argument("--backlog", type=numbers, default=[1_000, 100_000, 1_000_000])
    arguments.add_argument("--verdicts", type=numbers, default=[1_000, 1_000_000])
    arguments.add_argument("--workers", type=numbers, default=[1, 2, 4])
    arguments.add_argument(
        "--count", type=int, default=896, help="posts for each number of workers"
    )
    arguments.add_argument("--folder", type=Path, help="where databases are kept meanwhile")
    wanted = arguments.parse_args()
    workload = Workload(wanted.posts.resolve() if wanted.posts else None)
    with Interrupts(), _folder(wanted.folder) as folder:
        parts = {
            "intake": lambda: intake(wanted.backlog, folder),
            "database": lambda: database(wanted.verdicts, folder),
            "workers": lambda: workers(wanted.workers, wanted.count, workload, folder),
        }
        for part in wanted.parts.split(","):
            if part not in parts:
                arguments.error(f"unknown part {part}; there are {', '.join(parts)}")
            print(f"\n### {part}\n")
            for line in parts[part]():
                print(line, flush=True)


if __name__ == "__main__":
    main()
