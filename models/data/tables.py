"""Our own tables: JSONL, CSV and Parquet with the same columns. Needs no torch.

`id` and `text`; where known `images` and the labels of `LabelledPost`. Paths of images are
relative to the file.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deadpan.core.errors import DataError
from models.data.records import (
    SENTIMENT_LABELS,
    TRUTHS,
    WORDS,
    Collector,
    Place,
    PostsFile,
    decode_lines,
    decode_text,
)

_COLUMNS = ("id", "text", "images", *SENTIMENT_LABELS, *TRUTHS, *WORDS)
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_jsonl(path: Path) -> PostsFile:
    """One JSON object a line.

    Raises:
        DataError: with every problem, each naming file and line.
    """
    collector = Collector(path)
    for number, line in enumerate(decode_lines(collector.read_bytes(path)), start=1):
        if not line.strip():
            continue
        place = Place(path, number)
        try:
            # not strict: a text may hold a raw NUL or tab
            record = json.loads(line, strict=False)
        except (ValueError, RecursionError) as error:
            collector.problem(place, f"is not JSON: {error}")
            continue
        if isinstance(record, dict):
            collector.add_record(place, record)
        else:
            collector.problem(place, f"is {type(record).__name__}, not a JSON object")
    return collector.finish()


def read_csv(path: Path) -> PostsFile:
    """A header with the names of the columns, then a post a row; `.tsv` is parted by tabs.

    An empty label is unknown. Images are parted by `|`, or a JSON list. Truth is `true`, `1` or
    `yes`, its opposite `false`, `0` or `no`.

    Raises:
        DataError: with every problem, each naming file and line.
    """
    collector = Collector(path)
    lines = (f"{line}\n" for line in decode_lines(collector.read_bytes(path)))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    for place, row in _csv_rows(path, rows, collector):
        if not any(row):
            continue
        if header is None:
            header = [name.strip().lower() for name in row]
            _check_columns(path, header)
        elif len(row) != len(header):
            collector.problem(
                place,
                f"has {len(row)} cells where the header has {len(header)}; "
                "put texts with commas, quotes or line breaks in quotes",
            )
        else:
            cells = dict(zip(header, row, strict=True))
            collector.add_record(place, _from_cells(cells))
    return collector.finish()


def _csv_rows(path: Path, rows: Any, collector: Collector) -> Iterator[tuple[Place, list[str]]]:
    """Rows with the line that each begins in."""
    while True:
        place = Place(path, rows.line_num + 1)
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            collector.problem(place, f"is not CSV: {error}")
            continue
        yield place, row


def _from_cells(cells: dict[str, str]) -> dict[str, Any]:
    record: dict[str, Any] = {"id": cells["id"].strip(), "text": cells["text"]}
    for name in (*SENTIMENT_LABELS, *WORDS):
        if label := cells.get(name, "").strip():
            record[name] = label
    for name in TRUTHS:
        if value := cells.get(name, "").strip():
            record[name] = _TRUTH.get(value.lower(), value)
    record["images"] = _image_list(cells.get("images", ""))
    return record


def _image_list(cell: str) -> Any:
    cell = cell.strip()
    if cell.startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell  # add_record says what it must be
    return [name.strip() for name in cell.split("|") if name.strip()]


def read_parquet(path: Path) -> PostsFile:
    """A Parquet file; problems name the row, from 1. Needs the optional extra `data`.

    `images` may be a list or a string as in CSV, a truth value 0 or 1, and `text` bytes.

    Raises:
        DataError: the extra is missing, the file is not Parquet, or a row is wrong.
    """
    collector = Collector(path)
    content = collector.read_bytes(path, is_text=False)
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet cannot be read: {error}; install the extra with: "
            "pip install 'deadpan[data]', or write the posts as JSONL"
        ) from error
    number = 0
    try:
        file = parquet.ParquetFile(arrow.BufferReader(content))
        names = file.schema_arrow.names
        _check_columns(path, names)
        columns = [name for name in _COLUMNS if name in names]
        for batch in file.iter_batches(columns=columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                collector.add_record(Place(path, number), _from_row(row))
    except (arrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: is not Parquet that can be read: {reason}") from error
    return collector.finish()


def _from_row(row: dict[str, Any]) -> dict[str, Any]:
    record = dict(row)
    if isinstance(record["text"], bytes):
        record["text"] = decode_text(record["text"])
    if isinstance(record.get("images"), str):
        record["images"] = _image_list(record["images"])
    for name in TRUTHS:
        # a column with gaps is one of floats in pandas: 0.0, 1.0 and NaN
        value = record.get(name)
        if isinstance(value, float) and math.isnan(value):
            record[name] = None
        elif not isinstance(value, bool) and value in (0, 1):
            record[name] = bool(value)
    return record


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in ("id", "text") if name not in names]
    twice = sorted({name for name in names if name in _COLUMNS and names.count(name) > 1})
    if missing or twice:
        wrong = [f"{name} is missing" for name in missing] + [
            f"{name} is there twice" for name in twice
        ]
        raise DataError(
            f"{path}:1: of the columns, {' and '.join(wrong)}; "
            f"the header has {', '.join(names)!r:.200}, and {', '.join(_COLUMNS)} are known"
        )
