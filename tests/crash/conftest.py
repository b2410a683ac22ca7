"""A database, a policy that flags every post, and settings of workers that are about to fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.base.database import connect
from storage.migrations.schema import migrate
from worker.local.embedded import EmbeddedValkey

Settings = dict[str, Any]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An SQLite database with this version's tables."""
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, valkey_server: EmbeddedValkey, sqlite: Engine) -> Settings:
    """Of a worker with that database; a test adds the source."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "all"\npriority = 1\n'
    )
    return {
        "redis_url": valkey_server.url,
        "database_url": str(sqlite.url),
        "evidence_url": tmp_path / "evidence",
        "policy": policy,
        "engine": "torch",
        "explain": "off",
        "lease_seconds": 60,
        "chunk_size": 16,
        "retry_base_seconds": 0.2,
    }
