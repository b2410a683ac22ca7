"""What is old is forgotten, each kind after its own days, and what is needed stays."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from deadpan.core.errors import EvidenceUnavailable
from storage import tables
from storage.base.database import connect, transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.judging.values import NewEvidence
from storage.keeping import retention
from storage.migrations.schema import migrate
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reviews import known_answers, second_looks
from storage.tables import audit_log, review_votes, reviews
from tasks.housekeeping.housekeeping import Housekeeper
from tasks.housekeeping.retention import Periods, Retention
from tests.console_data import moderator, verdict
from tests.harness import environment, wait_until

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
REMOVE = Said("remove", reason_code="hate", note="n")
OLD, YOUNG = NOW - timedelta(days=40), NOW - timedelta(days=3)


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(str(tmp_path / "evidence"))


@pytest.fixture
def ann(database: Engine) -> Moderator:
    with transaction(database) as connection:
        return moderator(connection, "ann", "lead")


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def judged(
    database: Engine, store: EvidenceStore, post_id: str, *contents: bytes, now: datetime, **m: Any
) -> int | None:
    kept = [
        NewEvidence(store.put(content), "image", "image/jpeg", len(content)) for content in contents
    ]
    with transaction(database) as connection:
        found = record(
            connection,
            verdicts=[
                verdict(
                    post_id,
                    evidence=[{"kind": each.kind, "sha256": each.sha256} for each in kept],
                    explanation={"words": []},
                    text="some words",
                    **m,
                )
            ],
            evidence=kept,
            now=now,
        )
    return {**found.opened_flag_ids, **found.updated_flag_ids}.get(post_id)


def close(database: Engine, flag: int | None, who: Moderator, when: datetime) -> int:
    assert flag is not None
    with transaction(database) as connection:
        return decisions.decide(connection, flag, who, Said("approve", note="n"), now=when).id


def forget(database: Engine, store: EvidenceStore, **days: Any) -> None:
    keeping = Retention(Periods(**days), store)
    while keeping.turn(database, now=NOW):
        pass


def rows(database: Engine, table: Table, column: str) -> list[Any]:
    with transaction(database, read_only=True) as connection:
        return list(connection.execute(select(table.c[column]).order_by(table.c.id)).scalars())


def test_old_verdicts_go_unless_a_flag_stands_for_them(
    database: Engine, store: EvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(7):
        judged(database, store, f"old-{number}", now=OLD, flagged=number in (0, 1, 4))
    judged(database, store, "young", now=YOUNG, flagged=False)
    forget(database, store)
    assert len(rows(database, tables.verdicts, "post_id")) == 8
    forget(database, store, verdicts=30)
    assert rows(database, tables.verdicts, "post_id") == ["old-0", "old-1", "old-4", "young"]


def test_evidence_goes_some_days_after_the_last_flag_of_its_post_was_closed(
    database: Engine, store: EvidenceStore, ann: Moderator
) -> None:
    close(database, judged(database, store, "closed", b"own", b"shared", now=OLD), ann, OLD)
    close(database, judged(database, store, "young", b"shared", now=OLD), ann, YOUNG)
    judged(database, store, "open", b"waits", now=OLD)
    close(database, judged(database, store, "again", b"first", now=OLD), ann, OLD)
    judged(database, store, "again", b"second", now=YOUNG, content="b")
    forget(database, store, evidence=30)
    with pytest.raises(EvidenceUnavailable):
        store.get(sha256_of(b"own"))
    for kept in (b"shared", b"waits", b"first", b"second"):
        assert store.get(sha256_of(kept)) == kept
    with transaction(database, read_only=True) as connection:
        columns = tables.verdicts.c
        found = connection.execute(
            select(columns.post_id, columns.evidence, columns.explanation, columns.author)
        )
        by_post = {row.post_id: row for row in found if row.post_id in ("closed", "young")}
        assert (by_post["closed"].evidence, by_post["closed"].explanation) == ([], None)
        assert by_post["closed"].author == "ann"
        assert by_post["young"].evidence
        texts = dict(
            connection.execute(select(tables.flags.c.post_id, tables.flags.c.search_text)).all()  # type: ignore[arg-type]
        )
        assert (texts["closed"], texts["young"]) == (None, "some words")
        kept_rows = connection.execute(select(func.count()).select_from(tables.evidence)).scalar()
        assert kept_rows == 4
    later = Retention(Periods(evidence=30), store)
    later.turn(database, now=NOW + timedelta(days=30))
    with pytest.raises(EvidenceUnavailable):
        store.get(sha256_of(b"shared"))


def test_evidence_that_cannot_be_deleted_is_still_there_afterwards(
    database: Engine, store: EvidenceStore, ann: Moderator, tmp_path: Path
) -> None:
    class Stuck(EvidenceStore):
        def delete(self, sha256: str) -> bool:
            raise EvidenceUnavailable("the disk is read-only")

    close(database, judged(database, store, "closed", b"own", now=OLD), ann, OLD)
    keeping = Retention(Periods(evidence=30), Stuck(str(tmp_path / "evidence")))
    with pytest.raises(EvidenceUnavailable):
        keeping.turn(database, now=NOW)
    assert rows(database, tables.verdicts, "evidence") != [[]]
    forget(database, store, evidence=30)
    assert rows(database, tables.verdicts, "evidence") == [[]]


def test_old_decisions_go_with_what_undid_them_and_those_of_open_flags_stay(
    database: Engine, store: EvidenceStore, ann: Moderator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    closed, still_open, young = (
        judged(database, store, post_id, now=OLD) for post_id in ("closed", "open", "young")
    )
    for flag in (closed, still_open):
        undone = close(database, flag, ann, OLD)
        with transaction(database) as connection:
            decisions.undo(
                connection, undone, ann, claim_seconds=None, now=OLD + timedelta(seconds=9)
            )
    close(database, closed, ann, OLD + timedelta(hours=1))
    close(database, young, ann, YOUNG)
    forget(database, store, decisions=30)
    assert rows(database, tables.decisions, "flag_id") == [still_open, still_open, young]
    assert rows(database, tables.flags, "outcome") == ["approve", None, "approve"]


def test_old_entries_of_the_audit_log_go(
    database: Engine, store: EvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    with transaction(database) as connection:
        for number, when in enumerate([OLD] * 5 + [YOUNG] * 2):
            audit.write(connection, "ann", "test", f"entry {number}", now=when)
    forget(database, store, audit=30)
    assert rows(database, audit_log, "subject") == ["entry 5", "entry 6"]


def test_a_housekeeper_forgets_and_one_whose_store_is_away_goes_on_working(
    database: Engine, store: EvidenceStore, ann: Moderator
) -> None:
    class Away(EvidenceStore):
        def delete(self, sha256: str) -> bool:
            raise EvidenceUnavailable("it is away")

    close(database, judged(database, store, "closed", b"own", now=OLD), ann, OLD)
    for place, left in ((Away(str(store._root)), 1), (store, 0)):
        housekeeper = Housekeeper(
            database,
            holder="h",
            deliverer=None,
            retention_days=0,
            retention=Retention(Periods(evidence=30), place),
        )
        thread = threading.Thread(target=housekeeper.run)
        thread.start()
        try:
            wait_until(lambda each=housekeeper: each.not_ready() is None, "readiness")  # type: ignore[misc]
            if not left:
                wait_until(
                    lambda: rows(database, tables.verdicts, "evidence") == [[]], "forgetting"
                )
        finally:
            housekeeper.stop()
            thread.join()
        assert sum(map(bool, rows(database, tables.verdicts, "evidence"))) == left


def test_the_settings_reach_housekeeping(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    database = connect(url)
    migrate(database)
    store = EvidenceStore(str(tmp_path / "evidence"))
    for post_id, when in (("old", OLD), ("young", YOUNG)):
        judged(database, store, post_id, now=when, flagged=False)
    with transaction(database) as connection:
        audit.write(connection, "ann", "test", "old", now=OLD)
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "housekeeping"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(
            database_url=url,
            evidence_url=tmp_path / "evidence",
            retention_verdicts_days=30,
            retention_audit_days=30,
        ),
    )
    try:
        wait_until(
            lambda: (
                rows(database, tables.verdicts, "post_id") == ["young"]
                and rows(database, audit_log, "subject") == []
            ),
            "forgetting",
        )
    finally:
        child.terminate()
        child.wait(timeout=30)
        database.dispose()


def test_a_queue_has_days_of_its_own(
    database: Engine, store: EvidenceStore, ann: Moderator
) -> None:
    for post_id, queue, when in (
        ("old broken", "degraded", YOUNG),
        ("new broken", "degraded", NOW),
        ("old", "negative", OLD),
        ("young", "negative", YOUNG),
        ("kept", "several", OLD),
    ):
        number = judged(database, store, post_id, post_id.encode(), now=when, queue=queue)
        close(database, number, ann, when)
    # Of a post with flags in two queues, the evidence is of both.
    for content, queue in ((b"first", "degraded"), (b"second", "negative")):
        number = judged(
            database, store, "both", content, now=YOUNG, queue=queue, content=content.decode()
        )
        close(database, number, ann, YOUNG)
    queues = {"degraded": 1, "several": 0}
    forget(database, store, evidence=30, evidence_queues=queues)
    kept = (b"new broken", b"young", b"kept", b"first", b"second")
    for content in (b"old broken", b"old"):
        with pytest.raises(EvidenceUnavailable):
            store.get(sha256_of(content))
    for content in kept:
        assert store.get(sha256_of(content)) == content
    forget(database, store, decisions_queues=queues)
    with transaction(database, read_only=True) as connection:
        left = connection.execute(
            select(tables.flags.c.queue)
            .join(tables.decisions, tables.decisions.c.flag_id == tables.flags.c.id)
            .order_by(tables.flags.c.id)
        ).scalars()
        assert list(left) == ["degraded", "negative", "negative", "several", "negative"]


def test_what_is_to_be_looked_at_again_stays_and_goes_with_its_looks_later(
    database: Engine, store: EvidenceStore, ann: Moderator
) -> None:
    with transaction(database) as connection:
        bob = moderator(connection, "bob")
        eve = moderator(connection, "eve", "lead")
    every = Sampling(1.0, "key")
    flags: dict[str, int] = {}
    for post_id in ("appealed", "known", "voted", "sampled"):
        number = judged(database, store, post_id, post_id.encode(), now=OLD)
        assert number is not None
        flags[post_id] = number
        with transaction(database) as connection:
            looks = every if post_id == "voted" else Sampling()
            decisions.decide(connection, number, ann, REMOVE, now=OLD, second_looks=looks)
    with transaction(database) as connection:
        known_answers.mark(connection, flags["known"], "remove", eve, now=OLD)
        look = second_looks.take_next(connection, bob, claim_seconds=60, now=OLD + HOUR)
        assert look is not None
        second_looks.vote(connection, look, bob, Said("approve"), report=False, now=OLD + HOUR)
        second_looks.appeal(connection, flags["appealed"], actor=eve, why="wrong", now=YOUNG)
    days = {"evidence": 30, "decisions": 30}
    forget(database, store, **days)
    # Two disagree about the one that was voted on: it waits for a lead.
    waiting = {"appealed", "known", "voted"}
    assert set(rows(database, tables.decisions, "flag_id")) == {flags[each] for each in waiting}
    for post_id in waiting:
        assert store.get(sha256_of(post_id.encode()))
    with pytest.raises(EvidenceUnavailable):
        store.get(sha256_of(b"sampled"))
    with transaction(database) as connection:
        known_answers.mark(connection, flags["known"], "", eve, now=NOW)
        for _ in range(2):
            look = second_looks.take_next(connection, eve, claim_seconds=60, now=YOUNG + HOUR)
            assert look is not None
            second_looks.vote(connection, look, eve, REMOVE, report=False, now=YOUNG + HOUR)
    forget(database, store, **days)
    # The appeal ended three days ago with a decision of its own; all of its flag stay for that.
    assert set(rows(database, tables.decisions, "flag_id")) == {flags["appealed"]}
    assert set(rows(database, reviews, "flag_id")) == {flags["appealed"]}
    assert len(rows(database, review_votes, "id")) == 1
    with transaction(database, read_only=True) as connection:
        assert connection.execute(select(tables.known_answers.c.flag_id)).all() == []
    keeping = Retention(Periods(**days), store)
    while keeping.turn(database, now=NOW + timedelta(days=60)):
        pass
    assert (rows(database, tables.decisions, "id"), rows(database, reviews, "id")) == ([], [])
    forget(database, store, verdicts=30)
    assert len(rows(database, tables.verdicts, "id")) == 4, "flags stay, and so do their verdicts"
