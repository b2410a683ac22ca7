"""Whatever the code imports is declared in pyproject.toml, not left to another package to bring."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("console", "deadpan", "models", "sources", "storage", "tasks", "worker")
OTHERS = ("benchmarks", "docs", "tests")

FOR_USERS = ("ocr", "oidc", "data", "otel", "gpu", "train", "notify")
"""Extras that the product itself imports from, where they are installed."""


def imported(folder: str) -> Iterator[tuple[str, Path]]:
    """Top-level packages of other people, with the file that imports each."""
    known = {*sys.stdlib_module_names, *PRODUCT, *OTHERS}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            yield from (
                (package, path.relative_to(ROOT))
                for package in {name.partition(".")[0] for name in names} - known
            )


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    names = (re.match(r"[\w.-]+", line) for line in requirements)
    return {canonical(name[0]) for name in names if name}


def undeclared(folders: tuple[str, ...], allowed: set[str]) -> list[str]:
    distributions = packages_distributions()
    return [
        f"{path} imports {package}; declare it in pyproject.toml"
        for folder in folders
        for package, path in imported(folder)
        if allowed.isdisjoint(map(canonical, distributions.get(package, [package])))
    ]


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    product = declared(project["dependencies"])
    product |= declared([line for extra in FOR_USERS for line in extras[extra]])
    assert undeclared(PRODUCT, product) == []
    peers = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/peers").glob("*.txt")]
    everything = declared([line for lines in extras.values() for line in lines])
    everything |= declared("\n".join(peers).splitlines())
    assert undeclared(OTHERS, product | everything) == []
