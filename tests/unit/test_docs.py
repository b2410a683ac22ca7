"""Documents are tested: what they say exists, and what exists they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from deadpan.settings import Settings

ROOT = Path(__file__).parents[2]
VARIABLES = {f"DEADPAN_{name.upper()}" for name in Settings.model_fields}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(page for folder in ("docs", "deploy") for page in (ROOT / folder).rglob("*.md")),
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
def test_every_setting_and_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    unknown = set(re.findall(r"DEADPAN_[A-Z_]*[A-Z]", text)) - VARIABLES
    assert not unknown
    commands = set(re.findall(r"^## `deadpan (.*)`$", generator().PAGES["commands.md"](), re.M))
    known = commands | {command.split()[0] for command in commands}
    for written in re.findall(r"`(?:\.venv/bin/)?deadpan ([a-z-]+(?: [a-z-]+)?)", text):
        assert written in known or written.split()[0] in known, written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        assert set(re.findall(r"\bmake ([a-z-]+)`", page.read_text())) <= targets, page.name
