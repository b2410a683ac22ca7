"""Writes docs/settings.md and docs/commands.md. `make docs` runs it; a test compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main
from click import Command

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by `make docs` from the code; change it there. -->\n"


def settings_page() -> str:
    """Every setting, in the order of the code."""
    from deadpan.settings import describe, load

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


PAGES = {"settings.md": settings_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
        sys.stdout.write(f"wrote docs/{name}\n")
