"""How commands answer: tables for people, JSON for programs, warnings on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from deadpan.core import streams
from deadpan.core.logs import shown

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most rows to list.")]


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    # Escapes are JSON too, and a pipe that is not Unicode holds them.
    sys.stdout.write(json.dumps(data, ensure_ascii=not streams.is_unicode(), indent=2) + "\n")


def answer(data: Any, words: str, *, as_json: bool) -> None:
    """JSON for programs, or the same in words."""
    if as_json:
        print_json(data)
    else:
        typer.echo(words)


def answer_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str
) -> None:
    """JSON for programs, or a table of some columns."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns, empty=empty)


def warn(text: str) -> None:
    """A warning on standard error."""
    typer.echo(f"warning: {text}", err=True)


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "nothing"
) -> None:
    """A table on standard output, or the word for none. None is an empty cell."""
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
        cells = ("" if row[column] is None else str(row[column]) for column in columns)
        table.add_row(*(Text(shown(cell)) for cell in cells))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)
