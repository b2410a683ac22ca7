"""What was erased is nowhere any more, and does not come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from deadpan.core.errors import ConfigurationError, EvidenceUnavailable
from storage import tables
from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.flags.decisions import Said
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.judging.values import GonePost, NewDeadLetter, NewEvidence, NewFlag, NewVerdict
from storage.keeping import erasure
from storage.migrations.schema import migrate
from storage.people import moderators
from tasks.housekeeping.erasure import erase
from tasks.intake.intake import Intake
from tasks.intake.replay import replay

SECRET = "the words of ottoline"


def _verdict(post_id: str, author: str | None, evidence: list[NewEvidence]) -> NewVerdict:
    return NewVerdict(
        post_id,
        post_id[0] * 64,
        "m",
        "c",
        "p",
        0.8,
        0.1,
        0.1,
        0.3,
        author=author,
        degraded=[{"image": 0, "location": f"https://x.example/{SECRET}", "problem": SECRET}],
        unread=[{"what": "image", "index": 0, "problem": SECRET}],
        language="tr",
        unlearnt=True,
        evidence=[{"kind": item.kind, "sha256": item.sha256} for item in evidence],
        explanation={"words": [{"word": SECRET}]},
        flag=NewFlag("negative", 10, [{"rule": "negative"}], text=SECRET),
    )


def _everything(database: Engine) -> str:
    with transaction(database, read_only=True) as connection:
        return json.dumps(
            [
                list(map(str, row))
                for table in tables.metadata.sorted_tables
                for row in connection.execute(select(table))
            ]
        )


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(str(tmp_path / "evidence"))


@pytest.fixture
def shared(database: Engine, store: EvidenceStore) -> dict[str, NewEvidence]:
    """Two posts of ottoline and one of bob, who posted the same picture."""
    found = {
        name: NewEvidence(store.put(content), "image", "image/jpeg", len(content))
        for name, content in (("own", SECRET.encode()), ("of all", b"a picture that many post"))
    }
    with transaction(database) as connection:
        record(
            connection,
            verdicts=[
                _verdict("1", "ottoline", [found["own"], found["of all"]]),
                _verdict("2", "ottoline", [found["own"]]),
                NewVerdict("3", "3" * 64, "m", "c", "p", 0.1, 0.1, 0.8, 0.3, author="ottoline"),
                _verdict("4", "bob", [found["of all"]]),
            ],
            evidence=found.values(),
            dead_letters=[NewDeadLetter("5", "fetch", SECRET, 5)],
            gone=[GonePost("1", SECRET)],
            report="all",
        )
    return found


def test_a_post_is_erased_and_its_neighbours_are_not(
    database: Engine, store: EvidenceStore, shared: dict[str, NewEvidence]
) -> None:
    found = erase(database, store, "post", "1", requested_by="lea")
    # the second post of ottoline still has the picture of her own, bob the other
    assert (found.posts, found.verdicts, found.flags, found.evidence) == (1, 1, 1, ())
    with transaction(database, read_only=True) as connection:
        verdict = queries.latest_verdict(connection, "1")
        assert verdict is not None
        assert (verdict.author, verdict.explanation) == (None, None)
        assert (list(verdict.degraded), list(verdict.evidence)) == ([], [])
        assert list(verdict.unread) == []
        assert (verdict.language, verdict.unlearnt) == (None, False)
        assert verdict.negative == 0.8
        assert verdict.content_hash != "1" * 64
        assert [flag.post_id for flag in worklist.page(connection, Filter(), limit=9)] == ["2", "4"]
        assert erasure.erased(connection, ["1", "2", "unheard of"]) == {"1"}
    assert store.get(shared["own"].sha256) == SECRET.encode()


def test_an_author_is_erased_with_all_that_nobody_else_posted(
    database: Engine, store: EvidenceStore, shared: dict[str, NewEvidence]
) -> None:
    found = erase(database, store, "author", "ottoline", requested_by="lea")
    assert (found.posts, found.verdicts, found.flags) == (3, 3, 2)
    assert found.evidence == (shared["own"].sha256,)
    with transaction(database) as connection:
        bob = moderators.add(connection, "bob", "moderator", actor="test")
        (flag,) = worklist.page(connection, Filter(), limit=9)
        decisions.decide(connection, flag.id, bob, Said("remove", note=SECRET), report=True)
    erase(database, store, "post", "4", requested_by="lea")
    erase(database, store, "post", "5", requested_by="lea")
    assert SECRET not in _everything(database)
    assert "ottoline" not in _everything(database)
    for item in shared.values():
        with pytest.raises(EvidenceUnavailable, match="it was erased"):
            store.get(item.sha256)
    with transaction(database, read_only=True) as connection:
        assert erasure.erased(connection, ["1", "2", "3"]) == {"1", "2", "3"}


def test_erasing_twice_leaves_two_receipts_and_no_harm(
    database: Engine, store: EvidenceStore, shared: dict[str, NewEvidence]
) -> None:
    first = erase(database, store, "post", "2", requested_by="lea")
    again = erase(database, store, "post", "2", requested_by="lea")
    assert again.receipt > first.receipt
    assert (again.flags, again.notes, again.evidence) == (0, 0, ())
    with transaction(database, read_only=True) as connection:
        assert connection.execute(select(func.count()).select_from(tables.erasures)).scalar() == 2


def test_a_post_that_was_never_seen_is_kept_out_all_the_same(
    database: Engine, store: EvidenceStore
) -> None:
    found = erase(database, store, "post", "not yet", requested_by="lea")
    assert (found.posts, found.verdicts) == (0, 0)
    with transaction(database, read_only=True) as connection:
        assert erasure.erased(connection, ["not yet"]) == {"not yet"}


def test_an_erased_post_is_not_replayed(
    database: Engine, store: EvidenceStore, shared: dict[str, NewEvidence]
) -> None:
    erase(database, store, "post", "5", requested_by="lea")
    with transaction(database) as connection:
        (letter,) = queries.dead_letters(connection, limit=9)
        assert letter.error == erasure.ERASED
        with pytest.raises(ConfigurationError, match="was erased; it stays erased"):
            replay(connection, [letter.id], Intake.at("redis://127.0.0.1:1/0"))


def test_evidence_that_cannot_be_removed_leaves_the_erasure_undone(
    database: Engine, shared: dict[str, NewEvidence], tmp_path: Path
) -> None:
    class Stuck(EvidenceStore):
        def delete(self, sha256: str) -> bool:
            raise EvidenceUnavailable("the disk is read-only")

    with pytest.raises(EvidenceUnavailable):
        erase(database, Stuck(str(tmp_path)), "author", "ottoline", requested_by="lea")
    with transaction(database, read_only=True) as connection:
        assert erasure.erased(connection, ["1"]) == set()
        verdict = queries.latest_verdict(connection, "1")
        assert verdict is not None
        assert verdict.author == "ottoline"


def test_the_migration_makes_the_table_that_the_code_expects(database: Engine) -> None:
    migrate(database)
    with transaction(database) as connection:
        assert erasure.erased(connection, []) == set()
