"""Metrics of the stores: which fails, and how much room it has."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deadpan.core.errors import DatabaseUnavailable, EvidenceUnavailable, SchemaError
from storage.base.database import connect
from storage.judging.evidence import EvidenceStore
from tasks.watches import stores


@pytest.mark.parametrize(
    ("error", "store", "other"),
    [
        (EvidenceUnavailable("no room"), "evidence", "database"),
        (DatabaseUnavailable("no room"), "database", "evidence"),
        (SchemaError("behind"), "database", "evidence"),
    ],
)
def test_the_store_that_failed_fails_until_a_while_after_the_last_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, store: str, other: str
) -> None:
    monkeypatch.setattr(stores, "_failed_at", dict.fromkeys(stores.STORES, -math.inf))
    stores.note_failure(error, clock=lambda: 100.0)
    stores.note_failure(error, clock=lambda: 105.0)
    assert stores.fails(store, clock=lambda: 119.9)
    assert not stores.fails(store, clock=lambda: 120.0)
    assert not stores.fails(other, clock=lambda: 105.0)


def test_room_is_told_of_folders_that_do_not_exist_yet_and_not_of_stores_elsewhere(
    tmp_path: Path,
) -> None:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    stores.show_room(database, EvidenceStore(str(tmp_path / "not" / "yet")))
    database.dispose()
    for store in stores.STORES:
        free, size = (
            REGISTRY.get_sample_value(f"deadpan_store_{what}_bytes", {"store": store})
            for what in ("free", "size")
        )
        assert free is not None
        assert size is not None
        assert 0 < free < size
    assert EvidenceStore("memory://somewhere").folder is None
