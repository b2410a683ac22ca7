"""The demo's table: what became of every post, and why."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.tables import OF_WORDS, Verdict
from tasks.policy.rules import condition_text

_COLOURS = {"negative": "red", "neutral": "default", "positive": "green"}
_LIKELY = 0.5
_WIDTH = 150
# What a terminal of at least so many columns has room for.
_SHOWN = (
    (
        130,
        (
            "post",
            "sentiment",
            "sarcasm",
            *OF_WORDS,
            "text alone",
            "image alone",
            "flagged because",
        ),
    ),
    (100, ("post", "sentiment", "sarcasm", "text alone", "image alone", "flagged because")),
    (80, ("post", "sentiment", "sarcasm", "alone", "flagged because")),
    (60, ("post", "sentiment", "sarcasm", "flagged because")),
    (0, ("post", "judged")),
)
_PICTURE_ROWS = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One post of the demo.

    Attributes:
        outcome: judged, gone or dead_letter.
        reasons: of its flag, as they are stored.
        error: why it is a dead letter.
    """

    post_id: str
    about: str
    outcome: str
    verdict: Verdict | None
    reasons: tuple[Mapping[str, Any], ...]
    error: str


def print_rows(
    rows: Sequence[Row], summary: Mapping[str, Any], *, folder: Path, picture: Path | None
) -> None:
    """Print the table and the summary; write them as SVG too where a picture is wanted."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(_table(rows, console.width))
    console.print(_in_words(summary), markup=False)
    console.print(f"everything is in {folder}", markup=False, style="dim")
    if picture:
        _draw(rows, summary, picture)


def _draw(rows: Sequence[Row], summary: Mapping[str, Any], picture: Path) -> None:
    """Write the first rows as SVG, for a document."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        canvas = Console(highlight=False, record=True, width=_WIDTH, file=nowhere)
        canvas.print(_table(rows[:_PICTURE_ROWS], _WIDTH))
        canvas.print(f"… and {len(rows) - _PICTURE_ROWS} more", style="dim")
        canvas.print(_in_words(summary), markup=False)
        drawn = canvas.export_svg(title="make demo")
    # Rich names a font on the web; a document must not fetch one.
    picture.write_text(
        re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8"
    )


def _table(rows: Sequence[Row], width: int) -> Table:
    """The table for a terminal of so many columns, with what matters most where they are few;
    without a column that no verdict has anything for.
    """
    columns = next(columns for least, columns in _SHOWN if width >= least)
    verdicts = [row.verdict for row in rows if row.verdict is not None]
    unknown = {name for name in OF_WORDS if all(getattr(each, name) is None for each in verdicts)}
    shown = [column for column in columns if column not in unknown]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown:
        fold = column in ("post", "flagged because", "judged")
        table.add_column(column, overflow="fold", no_wrap=not fold)
    for row in rows:
        cells = dict(zip(_SHOWN[0][1], _cells(row), strict=True))
        cells["alone"], cells["judged"] = Text("–"), cells["flagged because"]
        if row.verdict is not None:
            cells["alone"] = Text("\n").join(
                Text.assemble(f"{what} ", cells[f"{what} alone"]) for what in ("text", "image")
            )
            said = [cells["sentiment"], Text.assemble("sarcasm ", cells["sarcasm"])]
            cells["judged"] = Text("\n").join([*said, *filter(None, [cells["flagged because"]])])
        table.add_row(*(cells[column] for column in shown))
    return table


def _cells(row: Row) -> list[Text]:
    name = Text(row.post_id)
    if row.about:
        name.append(f"\n{row.about}", style="dim")
    if row.verdict is None:
        what = "gone" if row.outcome == "gone" else f"dead letter: {row.error}"
        return [name, *(Text("–") for _ in _SHOWN[0][1][1:-1]), Text(what, style="yellow")]
    verdict = row.verdict
    fused = {key: getattr(verdict, key) for key in ("negative", "neutral", "positive", "sarcasm")}
    why = Text("\n").join(
        Text.assemble((reason["rule"], "bold"), ": ", _conditions(reason)) for reason in row.reasons
    )
    for image in verdict.degraded:
        why.append(
            f"{chr(10) if why else ''}image {image['image'] + 1}: {image['problem']}", "yellow"
        )
    for each in verdict.unread:
        place = "text" if each.get("index") is None else f"image {each['index'] + 1}"
        why.append(f"{chr(10) if why else ''}{place} not read in full: {each['problem']}", "yellow")
    if verdict.unlearnt:
        why.append(f"{chr(10) if why else ''}language not learnt: {verdict.language}", "yellow")
    return [
        name,
        _sentiment(fused),
        _likely(verdict.sarcasm),
        *(_likely(getattr(verdict, name)) for name in OF_WORDS),
        _read_out(verdict.text_alone),
        _read_out(verdict.image_alone),
        why,
    ]


def _likely(score: float | None) -> Text:
    if score is None:
        return Text("–", style="dim")
    return Text(f"{score:.2f}", style="magenta" if score >= _LIKELY else "dim")


def _sentiment(scores: Mapping[str, float]) -> Text:
    label = max(_COLOURS, key=lambda sentiment: scores[sentiment])
    return Text(f"{label} {scores[label]:.2f}", style=_COLOURS[label])


def _read_out(scores: Mapping[str, float] | None) -> Text:
    if scores is None:
        return Text("–", style="dim")
    return _sentiment(scores)


def _conditions(reason: Mapping[str, Any]) -> str:
    return ", ".join(map(condition_text, reason["conditions"]))


def _in_words(summary: Mapping[str, Any]) -> str:
    words = (
        f"{summary['posts']} posts in {summary['seconds']:.1f} seconds "
        f"({summary['posts_per_second']:.0f} a second): {summary['judged']} judged "
        f"({summary['degraded']} with an image that could not be seen), {summary['gone']} gone, "
        f"{summary['dead_letters']} dead letters, {summary['flags']} flagged for a moderator"
    )
    if "accuracy" in summary:
        words += (
            f"\nagainst the file's labels: accuracy {summary['accuracy']:.1%}, "
            f"macro F1 {summary['macro_f1']:.3f}"
        )
    return words
