"""Documents are tested: what they say exists, and what exists they say."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from deadpan.core.settings import Settings

ROOT = Path(__file__).parents[3]
VARIABLES = {f"DEADPAN_{name.upper()}" for name in Settings.model_fields}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(page for folder in ("docs", "deploy", "examples") for page in (ROOT / folder).rglob("*.md")),
]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_the_pages_written_from_the_code_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == generator().PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_that_a_page_shows_are_the_files_in_examples(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == generator().with_examples(text), "run `make docs`"


def test_a_page_that_shows_a_part_that_no_example_has_is_refused() -> None:
    marks = "<!-- example: examples/shell/judge.sh {} -->\n<!-- end of example -->"
    assert "RPUSH" in generator().with_examples(marks.format("push"))
    with pytest.raises(ValueError, match=r"judge.sh has no part \[snippet: pull\]"):
        generator().with_examples(marks.format("pull"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    assert (
        not set(re.findall(r"DEADPAN_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) - VARIABLES
    )


def commands() -> dict[str, set[str]]:
    """Options by the command that has them, as in `dead-letters list`."""
    from deadpan.cli import app

    walked = generator()._walk(typer.main.get_command(app), "deadpan")
    return {
        name.removeprefix("deadpan "): {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in walked
    }


def written_code(text: str) -> Iterator[str]:
    """What a page gives as code to be typed: inline, and lines of blocks that are no program's."""
    block = r"^(?:```|~~~)(\w*)\n(.*?)^(?:```|~~~)$"
    for language, lines in re.findall(block, text, re.MULTILINE | re.DOTALL):
        if language in ("", "bash", "sh"):
            yield from re.sub(r"\\\n\s*", "", lines).splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(block, "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_gives_exists(page: Path) -> None:
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    # `kubectl -n deadpan …` names a namespace.
    start, word = r"(?<!-n)(?:^|[\s(\"|;])(?:\.venv/bin/)?", r"([a-z][a-z-]*)"
    call = rf"{start}deadpan {word}(?: {word})?([^|;#)`]*)"
    for code in written_code(page.read_text(encoding="utf-8")):
        for first, second, rest in re.findall(call, code):
            name = f"{first} {second}" if first in groups and second else first
            assert name in known or name in groups, f"`deadpan {name}` in: {code}"
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) - {"--help"}
            given = known.get(name) or set().union(
                *(has for each, has in known.items() if each.startswith(f"{name} "))
            )
            assert options <= given, f"{options - given} of `deadpan {name}` in: {code}"


def test_a_command_that_does_not_exist_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for wrong in ("`deadpan flie`", "```\ndeadpan dead-letters lst\n```", "`deadpan up --prot 1`"):
        page.write_text(f"Run {wrong}\n" if wrong[1] != "`" else wrong + "\n")
        with pytest.raises(AssertionError):
            test_every_command_and_option_that_a_page_gives_exists(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    for module in re.findall(
        r"python -m ((?:benchmarks|tests)[\w.]*)", page.read_text(encoding="utf-8")
    ):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def anchors(page: Path) -> set[str]:
    """What a code host and the site call the headings of a page."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, anchor in re.findall(
        r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")
    ):
        if "://" not in target and (not target or target.endswith(".md")):
            there = page.parent / target if target else page
            assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        code = "\n".join(written_code(page.read_text()))
        named = set(re.findall(r"(?:^|\s)make ([a-z-]+)", code, re.MULTILINE))
        assert named <= targets, f"{page.name}: make {named - targets}"
