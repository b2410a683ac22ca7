"""Writes docs/settings.md, docs/commands.md and the examples shown in pages.

`make docs` runs it, and a test compares. A page shows a part of an example between two
markers, which this program fills:

    <!-- example: examples/python/sample_platform.py push -->
    <!-- end of example -->

In the example file, the part is between `[snippet: push]` and `[end]`, each in its own comment.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import typer.main
from click import Command

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by `make docs` from the code; change it there. -->\n"


def settings_page() -> str:
    """Every setting, in the order of the code."""
    from deadpan.core.settings import describe, load

    lines = [
        "# Settings",
        "",
        NOTE,
        "Every setting is an environment variable. `deadpan settings` shows the values in force; "
        "`deadpan check` says all that is wrong.",
        "",
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for row in describe(load({})):
        default = f"`{row['default']}`" if row["default"] else ""
        kind = row["type"].replace("|", "\\|")
        lines.append(f"| `{row['variable']}` | {kind} | {default} | {row['meaning']} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    from deadpan.cli import app

    lines = [
        "# Commands",
        "",
        NOTE,
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
        "",
    ]
    for name, command in _walk(typer.main.get_command(app), "deadpan"):
        lines += [f"## `{name}`", "", (command.help or "").strip(), ""]
        rows = list(_parameters(command))
        if rows:
            lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _walk(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    # Typer has its own copy of click's classes, so commands are told apart by what they have.
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child in sorted(children):
        yield from _walk(children[child], f"{name} {child}")


def _parameters(command: Command) -> Iterator[str]:
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        is_option = parameter.param_type_name == "option"
        shown = ", ".join(parameter.opts) if is_option else (parameter.name or "").upper()
        default = parameter.default
        tail = f" Default: `{default}`." if is_option and default not in (None, False, ()) else ""
        yield f"| `{shown}` | {getattr(parameter, 'help', '') or ''}{tail} |"


_LANGUAGES = {".py": "python", ".mjs": "javascript", ".sh": "bash", ".sql": "sql"}
_LANGUAGES |= {".go": "go", ".rb": "ruby", ".php": "php"}
_SHOWN = re.compile(
    r"<!-- example: (?P<path>\S+) (?P<name>\S+) -->\n.*?<!-- end of example -->", re.DOTALL
)


def with_examples(page: str) -> str:
    """A page with its examples up to date.

    Raises:
        ValueError: an example has no part of that name.
    """
    return _SHOWN.sub(_example, page)


def _example(match: re.Match[str]) -> str:
    path = FOLDER.parent / match["path"]
    part = re.search(
        rf"^[^\n]*\[snippet: {re.escape(match['name'])}\][^\n]*\n(.*?)\n[^\n]*\[end\]",
        path.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    if part is None:
        raise ValueError(f"{match['path']} has no part [snippet: {match['name']}]")
    code = textwrap.dedent(part[1]).strip("\n")
    return (
        f"<!-- example: {match['path']} {match['name']} -->\n"
        f"```{_LANGUAGES[path.suffix]}\n{code}\n```\n<!-- end of example -->"
    )


PAGES = {"settings.md": settings_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"wrote docs/{name}\n")
    for path in sorted(FOLDER.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (filled := with_examples(text)) != text:
            path.write_text(filled, encoding="utf-8")
            sys.stdout.write(f"wrote the examples of {path.relative_to(FOLDER.parent)}\n")
