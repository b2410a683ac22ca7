"""A console on every database, with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.judging.evidence import EvidenceStore
from tasks.intake.intake import Intake
from tests.console_server import ConsoleServer, serving


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server
