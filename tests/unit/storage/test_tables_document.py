"""docs/tables.md against the tables that exist."""

from __future__ import annotations

import re
from pathlib import Path

from storage.tables import metadata

DOCUMENT = Path(__file__).parents[3] / "docs" / "tables.md"


def test_the_document_names_every_table_and_column_and_no_other() -> None:
    documented: dict[str, dict[str, bool]] = {}
    rows: dict[str, bool] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## (\w+)", line):
            rows = documented.setdefault(heading[1], {})
        elif row := re.match(r"\| `(\w+)` \|[^|]+\| (yes|no) \|", line):
            rows[row[1]] = row[2] == "yes"
    existing = {
        table.name: {column.name: bool(column.nullable) for column in table.columns}
        for table in metadata.tables.values()
    }
    assert documented == existing
