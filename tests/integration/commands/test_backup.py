"""Backup and restore as docs/howto/backup-and-restore.md says, with its own commands."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, select

from storage.base.database import connect, transaction
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.migrations.schema import migrate, schema_problem
from storage.tables import flags, outbox, verdicts
from tasks.intake.intake import Intake
from tests.console_data import verdict
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from tests.postgres import Postgres
from tests.receiver import SECRET, Receiver
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

PAGE = (Path(__file__).parents[3] / "docs/howto/backup-and-restore.md").read_text()
POSTS = 80
BAD = "This is the worst day ever, I hate everything about it. Number"


def block(name: str) -> str:
    """A command or statement of the page."""
    found = re.search(rf"<!-- run: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, name
    return found[1]


def run(name: str, folder: Path, settings: Mapping[str, str], *paths: Path) -> str:
    """Runs a command of the page in a folder, with these programs before others."""
    first = [*paths, Path(sys.executable).parent]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block(name)],
        cwd=folder,
        env={**settings, "PATH": os.pathsep.join([*map(str, first), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def judged(database: Engine) -> list[tuple[Any, ...]]:
    """All verdicts: id, post, content, evidence."""
    columns = verdicts.c
    statement = select(columns.id, columns.post_id, columns.content_hash, columns.evidence)
    with transaction(database, read_only=True) as connection:
        return [tuple(row) for row in connection.execute(statement.order_by(columns.id))]


@pytest.mark.long
@pytest.mark.timeout(600)  # two workers start, one after the other
def test_what_was_backed_up_during_work_is_brought_up_to_date_and_nothing_is_lost_or_doubled(
    tmp_path: Path, postgres: Postgres
) -> None:
    posts: dict[str, dict[str, Any]] = {f"p{n}": {"text": f"{BAD} {n}"} for n in range(POSTS)}
    backup = tmp_path / "backup"
    backup.mkdir()
    with Platform(posts, delay_seconds=0.1) as platform, Receiver() as receiver:

        def settings(name: str, url: str, valkey: EmbeddedValkey) -> dict[str, str]:
            return environment(
                redis_url=valkey.url,
                database_url=url,
                evidence_url=tmp_path / name / "evidence",
                source=platform.source,
                callback_url=receiver.url,
                callback_secret=SECRET,
                allow_private_addresses="127.0.0.0/8",
                chunk_size=4,
                slots=1,
                lease_seconds=4,
                explain="off",
                log_format="json",
            )

        def worker(name: str, environment: Mapping[str, str]) -> ChildProcess:
            return ChildProcess(
                "worker",
                [sys.executable, "-m", "deadpan", "worker", "--with-housekeeping"],
                environment=environment,
                log_path=tmp_path / name / "worker.log",
            )

        before_url = postgres.create_database()
        database = connect(before_url)
        migrate(database)
        with EmbeddedValkey(tmp_path / "before/valkey") as valkey:
            intake = Intake.at(valkey.url)
            there = settings("before", before_url, valkey)
            with worker("before", there) as child:
                intake.enqueue(posts)
                wait_until(lambda: len(judged(database)) >= 20, "work", child)
                run("back up PostgreSQL", backup, there, postgres.binaries)
                shutil.copytree(tmp_path / "before/valkey", tmp_path / "after/valkey")
                # Life goes on after the backup: the rest is judged, edits and new posts come.
                posts["p0"] = {"text": "What a lovely day"}
                posts |= {f"new{n}": {"text": f"Nothing special {n}"} for n in range(8)}
                ids = list(posts)
                intake.enqueue(["p0", *ids[-8:]])
                wait_until(
                    lambda: (
                        len(judged(database)) == POSTS + 9
                        and len(receiver.times_accepted) == POSTS + 9
                    ),
                    "89 verdicts and callbacks",
                    child,
                )
            intake.close()
        lost = judged(database)
        told_before = {request.id: request.body for request in receiver.accepted}
        database.dispose()
        postgres.drop_database(before_url)
        shutil.rmtree(tmp_path / "before/evidence")

        # Everything is gone: a new database, an empty folder, and of Redis an old copy, in which
        # wait ids that were judged since, and a chunk that was in hand.
        url = postgres.create_database()
        with EmbeddedValkey(tmp_path / "after/valkey") as valkey:
            there = settings("after", url, valkey)
            run("restore PostgreSQL", backup, there, postgres.binaries)
            with psycopg.connect(url, autocommit=True) as owner:
                owner.execute(block("after restoring PostgreSQL").encode())
                row = owner.execute(block("restored until").encode()).fetchone()
                assert row is not None
                assert row[0] is not None
            database = connect(url)
            restored = judged(database)
            assert 20 <= len(restored) < POSTS, "the backup was made in the middle"
            assert restored == lost[: len(restored)]
            (backup / "ids.txt").write_text("".join(f"{post_id}\n" for post_id in ids))
            intake = Intake.at(valkey.url)
            run("find what has no outcome", backup, there, postgres.binaries)
            known = {post_id for _, post_id, _, _ in restored}
            missing = (backup / "missing.txt").read_text().split()
            assert set(missing) == set(ids) - known
            assert intake.status()["intake"]["low"] == len(missing)
            intake.enqueue(["p0"])  # edited since the backup
            with worker("after", there) as child:

                def finished() -> bool:
                    told = intake.status()
                    waiting = [*told["intake"].values(), told["chunks"], told["retries"]]
                    return not any(waiting) and len(outcomes(database, ids)) == len(ids)

                wait_until(finished, "outcomes of what was pushed again", child)
                now = judged(database)
                intake.enqueue(ids)  # more than had to be: it changes nothing
                wait_until(finished, "outcomes of everything", child)
                assert judged(database) == now
                wait_until(lambda: pending(database) == 0, "callbacks", child)
            intake.close()
        try:
            assert now[: len(restored)] == restored
            # Each post and content that was judged before is judged now, once.
            assert Counter(key[1:3] for key in now) == Counter(key[1:3] for key in lost)
            with transaction(database, read_only=True) as connection:
                flagged = list(connection.execute(select(flags.c.post_id)).scalars())
            assert len(flagged) == len(set(flagged)) >= POSTS - 1
            store = EvidenceStore(str(tmp_path / "after/evidence"))
            for *_, evidence in now:
                for each in evidence:
                    store.get(each["sha256"])
            # New verdicts are told with greater ids; what is told again is the same.
            greatest = max(number for number, *_ in lost)
            assert min(number for number, *_ in now[len(restored) :]) > greatest
            for request in receiver.accepted:
                if request.id in told_before:
                    assert request.body == told_before[request.id]
            newest: dict[str, int] = {}
            for request in receiver.accepted:
                told = request.told["data"]["verdict_id"]
                newest[request.post_id] = max(told, newest.get(request.post_id, 0))
            latest = {post_id: number for number, post_id, *_ in now}
            assert newest == latest
        finally:
            database.dispose()
            postgres.drop_database(url)


def pending(database: Engine) -> int:
    with transaction(database, read_only=True) as connection:
        return len(
            connection.execute(select(outbox.c.id).where(outbox.c.delivered_at.is_(None))).all()
        )


def test_sqlite_is_copied_whole_while_it_is_written(tmp_path: Path) -> None:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    store = EvidenceStore(str(tmp_path / "evidence"))
    ended, copied, written = threading.Event(), threading.Event(), []

    def write() -> None:
        number = 0
        while not ended.is_set():
            sha256 = store.put(f"evidence {number}".encode())
            kept = [{"kind": "text", "sha256": sha256}]
            with transaction(database) as connection:
                # Two posts a transaction: a copy has both or neither.
                pair = [verdict(f"{side}{number}", evidence=kept) for side in "ab"]
                record(connection, verdicts=pair)
            written.append(number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(written) >= 50, "writing")
        run("back up SQLite", tmp_path, dict(os.environ))
        copied.set()
        at_least = len(written)
        wait_until(lambda: len(written) > at_least + 5, "writing goes on")
    finally:
        ended.set()
        writer.join()
    original = judged(database)
    database.dispose()

    folder = tmp_path / "restored"
    folder.mkdir()
    shutil.copy(tmp_path / "deadpan-backup.db", folder / "deadpan.db")
    with closing(sqlite3.connect(folder / "deadpan.db")) as copy, copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        copy.executescript(block("after restoring SQLite"))
    restored = connect(f"sqlite:///{folder}/deadpan.db")
    try:
        assert schema_problem(restored) is None
        rows = judged(restored)
        assert 50 <= len(rows) < len(original)
        assert rows == original[: len(rows)]
        assert len(rows) % 2 == 0
        subprocess.run(["tar", "-xf", tmp_path / "evidence.tar", "-C", folder], check=True)
        kept = EvidenceStore(str(folder))
        for *_, evidence in rows:
            for each in evidence:
                kept.get(each["sha256"])
        with transaction(restored) as connection:
            record(connection, verdicts=[verdict("after")])
        assert judged(restored)[-1][0] > original[-1][0], "an id was given out twice"
    finally:
        restored.dispose()


@pytest.fixture(autouse=True)
def programs() -> None:
    for name in ("bash", "tar"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on this machine")
