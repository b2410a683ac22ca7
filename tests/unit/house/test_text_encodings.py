"""Whoever reads or writes text names its encoding: a machine's own differs from the next one's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = (
    *("deadpan", "worker", "tasks", "models", "sources", "storage", "console"),
    *("docs", "benchmarks", "examples"),
)
UNNAMED = {("read_text", 0), ("write_text", 0), ("write_text", 1)}
"""Calls that name no encoding, with how many arguments without a name."""

TEXT_MODE = re.compile(r"(?!.*b)[rwax][+t]{0,2}")


def unnamed_encodings(source: str) -> Iterator[int]:
    """Lines of calls that read or write text in whatever encoding the machine has.

    ruff's PLW1514, which `make check` runs, sees the ones whose types it can tell.
    """
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and "encoding" not in {k.arg for k in call.keywords}:
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            if isinstance(call.func, ast.Name):
                name = call.func.id
            values = [a.value if isinstance(a, ast.Constant) else ... for a in call.args]
            modes = [k.value.value for k in call.keywords if k.arg == "mode"]  # type: ignore[attr-defined]
            if name == "open":
                given = values if isinstance(call.func, ast.Attribute) else values[1:]
                mode = (modes or given or ["r"])[0]
                is_found = isinstance(mode, str) and TEXT_MODE.fullmatch(mode) is not None
            elif name in ("run", "Popen", "check_output"):
                is_found = any(
                    k.arg in ("text", "universal_newlines") and getattr(k.value, "value", False)
                    for k in call.keywords
                )
            else:
                is_found = (name, len(values)) in UNNAMED
            if is_found:
                yield call.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_is_read_and_written_in_an_encoding_that_is_named(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in unnamed_encodings(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("p.read_text()", [1]),
        ("p.read_text('utf-8')", []),
        ("p.write_text(x)", [1]),
        ("p.write_text(x, encoding='utf-8')", []),
        ("open(p)", [1]),
        ("open(p, 'rb')", []),
        ("open(p, mode='w')", [1]),
        ("p.open('a')", [1]),
        ("p.open('xb')", []),
        ("Image.open(p)", []),
        ("subprocess.run(c, text=True)", [1]),
        ("subprocess.run(c, text=True, encoding='utf-8')", []),
        ("subprocess.run(c)", []),
    ],
)
def test_such_calls_are_found(code: str, lines: list[int]) -> None:
    assert list(unnamed_encodings(code)) == lines
