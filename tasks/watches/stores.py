"""Metrics of what outcomes are kept in: whether it fails, and how much room is left."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import Gauge
from sqlalchemy import Engine

from deadpan.core.errors import EvidenceUnavailable
from storage.base.database import folder_of
from storage.judging.evidence import EvidenceStore

STORES: Final = ("database", "evidence")

FAILED_SECONDS: Final = 15.0
"""For so long after a failure a store counts as failing: chunks are tried again every 5 seconds.
What is recorded meanwhile without it proves nothing: of a post that is not flagged, no evidence is
kept."""

STORE_FAILS = Gauge(
    "deadpan_store_fails",
    "1 while chunks are given back because the database or the evidence store is away or full.",
    ["store"],
)
STORE_FREE_BYTES = Gauge(
    "deadpan_store_free_bytes", "Room left on the disk of a store in a local folder.", ["store"]
)
STORE_SIZE_BYTES = Gauge(
    "deadpan_store_size_bytes", "Size of the disk of a store in a local folder.", ["store"]
)

_failed_at = dict.fromkeys(STORES, -math.inf)


def note_failure(error: Exception, *, clock: Callable[[], float] = time.monotonic) -> None:
    """A chunk was given back because a store failed."""
    store = "evidence" if isinstance(error, EvidenceUnavailable) else "database"
    _failed_at[store] = clock()


def fails(store: str, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether it failed a moment ago."""
    return clock() - _failed_at[store] < FAILED_SECONDS


def show_room(database: Engine, evidence: EvidenceStore) -> None:
    """Let metrics tell how much room there is, where that is a folder of this machine."""
    folders = {"database": folder_of(database), "evidence": evidence.folder}
    for store, folder in folders.items():
        if folder is None:
            continue
        STORE_FREE_BYTES.labels(store).set_function(partial(_free_bytes, folder))
        STORE_SIZE_BYTES.labels(store).set_function(partial(_size_bytes, folder))


def _free_bytes(folder: Path) -> float:
    return _room(folder)[0]


def _size_bytes(folder: Path) -> float:
    return _room(folder)[1]


def _room(folder: Path) -> tuple[float, float]:
    """Free and whole bytes; NaN where the disk does not say."""
    for existing in (folder, *folder.parents):  # nothing may have been kept there yet
        try:
            usage = shutil.disk_usage(existing)
        except FileNotFoundError:
            continue
        except OSError:
            break
        return float(usage.free), float(usage.total)
    return math.nan, math.nan


for _store in STORES:
    STORE_FAILS.labels(_store).set_function(partial(fails, _store))
