"""Documents are tested: what they say exists, and what exists they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from deadpan.settings import Settings

ROOT = Path(__file__).parents[2]
VARIABLES = {f"DEADPAN_{name.upper()}" for name in Settings.model_fields}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


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


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_has_the_services_that_deadpan_needs() -> None:
    assert set(compose()["services"]) == {
        "redis", "postgres", "migrate", "worker", "housekeeping", "console"
    }  # fmt: skip


def test_compose_names_only_settings_and_commands_that_exist() -> None:
    commands = set(re.findall(r"^## `(.*)`$", generator().PAGES["commands.md"](), re.M))
    for name, service in compose()["services"].items():
        given = {k for k in service.get("environment", {}) if k.startswith("DEADPAN_")}
        assert given <= VARIABLES, name
        command = service.get("command", [])
        if command[:1] == ["deadpan"]:
            words = [word for word in command if not word.startswith("-")]
            assert any(" ".join(words).startswith(known) for known in commands), command


def test_the_settings_in_compose_are_valid_together() -> None:
    from deadpan.settings import load

    environment = compose()["services"]["worker"]["environment"]
    filled = {
        name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value)) for name, value in environment.items()
    }
    filled["DEADPAN_SECRET_KEY"] = "x" * 48
    filled["DEADPAN_SOURCE"] = "https://platform.example/posts?ids={ids}"
    del filled["DEADPAN_SOURCE_TOKEN"]
    settings = load(filled)
    port = re.search(
        r"127\.0\.0\.1:(\d+)/readyz", str(compose()["services"]["worker"]["healthcheck"])
    )
    assert port
    assert int(port[1]) == settings.metrics_port


def test_compose_keeps_what_redis_accepted() -> None:
    command = compose()["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_the_image_holds_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) ", (ROOT / "deploy/Dockerfile").read_text(), re.M))
    for package in ("deadpan", "worker", "tasks", "models", "sources", "storage", "console"):
        assert package in copied
