"""What is kept, and how many bytes of it: the figures of docs/howto/sizing.md.

    deadpan demo --posts POSTS.jsonl --folder FOLDER --json
    python -m benchmarks.sizing FOLDER [--verdicts 20000] [--ids 200000]

Takes the verdicts, flags and evidence that a demo left in its folder, writes them again and again
under new post ids, with their callbacks, into fresh databases, and counts. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, text, update

from deadpan.core.errors import DataError, DeadpanError
from storage.base.database import connect, transaction
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.judging.verdict_event import Report
from storage.migrations.schema import migrate
from storage.tables import evidence, flags, outbox, verdicts
from tasks.intake.intake import Intake
from tests.postgres import Postgres
from worker.local.embedded import EmbeddedValkey

CHUNK = 64
ID_LENGTHS = (8, 19, 36)
"""A number, a snowflake, a UUID."""


def waiting(count: int, folder: Path) -> Iterator[str]:
    """Bytes of Redis's memory for each waiting id, by its length."""
    yield "| length of an id | bytes a waiting id | a million MB |"
    yield "|--:|--:|--:|"
    for length in ID_LENGTHS:
        server = EmbeddedValkey(folder / f"valkey{length}")
        with server, closing(Intake.at(server.url)) as queue:
            before = int(queue.client.info("memory")["used_memory"])
            queue.enqueue(_spread(number, length) for number in range(count))
            used = int(queue.client.info("memory")["used_memory"]) - before
        yield f"| {length} | {used / count:.1f} | {used / count * 1e6 / 2**20:.0f} |"


def _spread(number: int, length: int) -> str:
    """Ids without order, of digits and letters where they are long, as real ones are."""
    shuffled = number * 0x9E3779B97F4A7C15 % 2**64
    if length <= 20:
        return str(shuffled).zfill(20)[-length:] if length < 19 else str(10**18 + shuffled // 32)
    return f"{shuffled:016x}-{shuffled ^ 0x5DEECE66D:016x}"[:length].ljust(length, "0")


def judged_posts(demo: Engine) -> list[NewVerdict]:
    """What a demo judged, with the flags that it opened.

    Raises:
        DataError: it judged nothing.
    """
    with transaction(demo, read_only=True) as connection:
        found = [dict(row) for row in connection.execute(select(flags)).mappings()]
        rows = [dict(row) for row in connection.execute(select(verdicts)).mappings()]
    opened = {row["verdict_id"]: row for row in found}
    if not rows:
        raise DataError("the demo's database has no verdicts; run `deadpan demo --json` again")
    return [_verdict(row, opened.get(row["id"])) for row in rows]


def _verdict(row: Mapping[str, Any], flag: Mapping[str, Any] | None) -> NewVerdict:
    values = {name: value for name, value in row.items() if name not in ("id", "created_at")}
    made = flag and NewFlag(flag["queue"], flag["priority"], flag["reasons"])
    return NewVerdict(**values, flag=made or None)


def fill(database: Engine, posts: Sequence[NewVerdict], count: int, report: Report) -> None:
    """Write the posts again and again under new ids, in chunks, until there are so many."""
    for start in range(0, count, CHUNK):
        chunk = [
            replace(
                posts[n % len(posts)],
                post_id=_spread(n, 19),
                content_hash=f"{n * 0x9E3779B97F4A7C15 % 2**256:064x}",
            )
            for n in range(start, min(count, start + CHUNK))
        ]
        with transaction(database) as connection:
            record(connection, verdicts=chunk, report=report)


def tables(
    name: str, fresh: Callable[[], str], posts: Sequence[NewVerdict], count: int
) -> Iterator[str]:
    """Bytes of a verdict, of a flag and of a callback with their indexes, in one kind of database.

    What a kind of row takes is the difference between a database with it and one without.
    """
    plain = [replace(post, flag=None, explanation=None) for post in posts]
    share = sum(post.flag is not None for post in posts) / len(posts)
    sizes = []
    steps: list[tuple[Sequence[NewVerdict], Report]] = [
        (plain, "none"),
        (posts, "none"),
        (posts, "all"),
    ]
    for kind, report in steps:
        database = connect(fresh())
        try:
            migrate(database)
            empty = size_of(database)
            fill(database, kind, count, report)
            with transaction(database) as connection:
                connection.execute(update(outbox).values(delivered_at=outbox.c.created_at))
            sizes.append(size_of(database) - empty)
        finally:
            database.dispose()
    verdict, flagged, told = sizes
    yield f"| {name}: a verdict | {verdict / count:.0f} | {verdict / count * 1e6 / 2**30:.2f} |"
    flag = (flagged - verdict) / (count * share)
    yield f"| {name}: a flag and its explanation | {flag:.0f} | {flag * 1e6 / 2**30:.2f} |"
    callback = (told - flagged) / count
    callbacks = f"{callback:.0f} | {callback * 1e6 / 2**30:.2f}"
    yield f"| {name}: a callback until it is forgotten | {callbacks} |"


def size_of(database: Engine) -> int:
    """Bytes on the disk, with indexes; compacted, so that what was overwritten does not count."""
    if database.dialect.name == "sqlite":
        with database.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.commit()
            raw.execute("VACUUM")
            pages = raw.execute("PRAGMA page_count").fetchone()[0]
            return int(pages * raw.execute("PRAGMA page_size").fetchone()[0])
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL"))
        found = connection.execute(text("SELECT pg_database_size(current_database())"))
        return int(found.scalar_one())


def kept(demo: Engine, folder: Path) -> Iterator[str]:
    """Bytes of evidence for each flag, counted where it lies."""
    with transaction(demo, read_only=True) as connection:
        rows = list(connection.execute(select(evidence)).mappings())
        flagged = len(connection.execute(select(flags.c.id)).all())
    files = [path for path in folder.rglob("*") if path.is_file()]
    on_disk = sum(path.stat().st_blocks * 512 for path in files)
    yield "| evidence | files | bytes each |"
    yield "|---|--:|--:|"
    for kind in sorted({row["kind"] for row in rows}):
        sizes = [row["bytes"] for row in rows if row["kind"] == kind]
        yield f"| {kind} | {len(sizes)} | {sum(sizes) / len(sizes):.0f} |"
    total = sum(row["bytes"] for row in rows)
    yield (
        f"| **a flag**, of {flagged} | {len(files) / flagged:.1f} | {total / flagged:.0f}, "
        f"on the disk {on_disk / flagged:.0f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="How many bytes is what Deadpan keeps?")
    parser.add_argument("demo", type=Path, metavar="FOLDER", help="of a `deadpan demo --json`")
    parser.add_argument("--verdicts", type=int, default=20_000)
    parser.add_argument("--ids", type=int, default=200_000)
    arguments = parser.parse_args()
    path = arguments.demo / "deadpan.db"
    if not path.exists():
        raise DataError(f"{path} is not there; run `deadpan demo --json --folder` with this folder")
    demo = connect(f"sqlite:///{path}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        posts = judged_posts(demo)
        print(*kept(demo, arguments.demo / "evidence"), "", sep="\n", flush=True)
        print(*waiting(arguments.ids, folder), "", sep="\n", flush=True)
        print("| a row, with its indexes | bytes | a million GB |", "|---|--:|--:|", sep="\n")
        names = itertools.count()
        fresh = lambda: f"sqlite:///{folder}/{next(names)}.db"  # noqa: E731
        print(*tables("SQLite", fresh, posts, arguments.verdicts), sep="\n", flush=True)
        with closing(Postgres()) as server:
            server.start()
            fresh = server.create_database
            print(*tables("PostgreSQL", fresh, posts, arguments.verdicts), sep="\n", flush=True)
    demo.dispose()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DeadpanError as error:
        sys.exit(f"error: {error}")
