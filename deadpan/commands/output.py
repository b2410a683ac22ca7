"""How commands talk: tables for people, JSON for programs, problems to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from deadpan.core import streams
from deadpan.core.logs import shown

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    # Escapes are JSON too, and a pipe that is not Unicode holds them.
    sys.stdout.write(json.dumps(data, ensure_ascii=not streams.is_unicode(), indent=2) + "\n")


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "nothing"
) -> None:
    """A table on standard output, or the word for none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        typer.echo(empty)
        return
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        # Text objects: what a platform wrote is never read as markup.
        table.add_row(*(Text(shown(str(row[column]))) for column in columns))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)
