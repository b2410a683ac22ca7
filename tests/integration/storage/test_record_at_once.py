"""Workers that record the same posts at once: each is written once, and nobody waits for ever."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.base.database import connect, transaction
from storage.judging import queries
from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, Recorded
from storage.migrations.schema import migrate
from tests.integration.tasks.recording import FLAG, RECORDED, record_in, rows_of, verdict_of
from tests.postgres import run_at_once


def test_workers_that_record_the_same_posts_at_once_write_each_once(database: Engine) -> None:
    posts = [f"p{number}" for number in range(60)]
    barrier = threading.Barrier(4)

    def work(worker: int) -> list[Recorded]:
        order = random.Random(worker)
        recorded = []
        for content in "abcde":
            mine = order.sample(posts, len(posts))
            barrier.wait()
            recorded.append(
                record_in(
                    database,
                    *(verdict_of(post_id, content, flag=FLAG) for post_id in mine),
                    dead_letters=[NewDeadLetter(f"d{p}", "fetch", "x", 1) for p in mine],
                    gone=[GonePost(f"g{p}", "404") for p in mine],
                    evidence=[
                        NewEvidence(f"{n:064x}", "image", "image/webp", 1)
                        for n in order.sample(range(60), 60)
                    ],
                )
            )
        return recorded

    with ThreadPoolExecutor(4) as pool:
        recorded = [each for worker in pool.map(work, range(4)) for each in worker]
    assert sum(len(each.verdict_ids) for each in recorded) == 300
    assert sum(len(each.opened_flag_ids) for each in recorded) == 60
    assert sum(len(each.updated_flag_ids) for each in recorded) == 240
    assert sum(each.evidence for each in recorded) == 60
    assert {name: len(table) for name, table in rows_of(database).items()} == {
        "verdicts": 300,
        "flags": 60,
        "dead_letters": 60,
        "gone_posts": 60,
        "evidence": 60,
    }


# Each table by itself: a lock taken in the first one would keep the two apart in all others.
@pytest.mark.parametrize("table", ["verdicts", "flags", "dead_letters", "gone", "evidence"])
def test_workers_that_meet_the_same_posts_in_opposite_order_do_not_deadlock(
    postgres_url: str, table: str
) -> None:
    engine = connect(postgres_url)
    migrate(engine)
    with transaction(engine) as connection:
        # So slow that the two are in the middle of one another.
        connection.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END'"
            )
        )
        for name in (each.name for each in RECORDED):
            connection.execute(
                text(
                    f"CREATE TRIGGER slow BEFORE INSERT ON {name}"
                    " FOR EACH ROW EXECUTE FUNCTION slow()"
                )
            )
    barrier = threading.Barrier(2)

    def work(order: list[int], content: str) -> Recorded:
        made: dict[str, list[Any]] = {
            "verdicts": [verdict_of(f"p{n}") for n in order],
            # Of different content: the same verdicts would already keep the two apart.
            "flags": [verdict_of(f"p{n}", content, flag=FLAG) for n in order],
            "dead_letters": [NewDeadLetter(f"d{n}", "fetch", "x", 1) for n in order],
            "gone": [GonePost(f"g{n}", "404") for n in order],
            "evidence": [NewEvidence(f"{n:064x}", "image", "image/webp", 1) for n in order],
        }
        barrier.wait()
        if table in ("verdicts", "flags"):
            return record_in(engine, *made[table])
        return record_in(engine, **{table: made[table]})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ([0, 1, 2, 3], [3, 2, 1, 0]), "ab"))
    assert sum(len(rows) for rows in rows_of(engine).values()) == {"flags": 12}.get(table, 4)
    engine.dispose()


def test_processes_that_record_the_same_posts_at_once_write_each_once(
    database: Engine, database_url: str
) -> None:
    program = """
import sys
from storage.base.database import connect, transaction
from storage.judging.values import NewFlag, NewVerdict
from storage.judging.outcomes import record
engine = connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
new = 0
for turn in range(20):
    with transaction(engine) as connection:
        new += len(record(connection, verdicts=[
            NewVerdict(f"p{n}", f"{turn:064x}", "m", "c", "p", 0, 0, 1, 0, flag=NewFlag("q", 1, []))
            for n in range(20)
        ]).verdict_ids)
engine.dispose()
print(new)
"""
    said = run_at_once(program, database_url, times=2)
    assert sum(int(each) for each in said) == 400
    with transaction(database, read_only=True) as connection:
        counts = queries.counts(connection)
    assert (counts.verdicts, counts.flags["open"]) == (400, 20)
