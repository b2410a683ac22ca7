"""A recipe: which data and settings make a model, so that anybody with the data can make it again.

Needs no torch, so that the command line can check a recipe before it loads anything.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deadpan.errors import DataError
from models.training.settings import DataFile, Settings

RECIPES = Path(__file__).parent / "recipes"

_KEYS = {"name", "notes", "settings", "train", "dev"}
_FILE_KEYS = {"file", "name", "source", "licence"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `models.training.run.train` takes.

    Attributes:
        name: of the model.
        notes: for the model card.
        settings: of the run.
        train: files to learn from.
        dev: files to choose and measure on.
    """

    name: str
    notes: str
    settings: Settings
    train: tuple[DataFile, ...]
    dev: tuple[DataFile, ...]


def recipe_names() -> list[str]:
    """Names of the recipes that come with Deadpan."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(spec: str | Path, data: Path) -> Recipe:
    """Read a recipe.

    Args:
        spec: the name of a recipe that comes with Deadpan, or a TOML file.
        data: the folder its files are in.

    Raises:
        DataError: with everything that is wrong with it.
    """
    path = RECIPES / f"{spec}.toml" if str(spec) in recipe_names() else Path(spec)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"recipe {str(spec)!r} cannot be read: {error}; name a TOML file or one of: "
            f"{', '.join(recipe_names())}"
        ) from error
    problems = [f"{path}: {key} is unknown" for key in document if key not in _KEYS]
    settings = _settings(document.get("settings", {}), path, problems)
    train = _files(document.get("train", []), f"{path}: train", data, problems)
    dev = _files(document.get("dev", []), f"{path}: dev", data, problems)
    if problems:
        raise DataError(problems)
    return Recipe(
        name=str(document.get("name", path.stem)),
        notes=str(document.get("notes", "")),
        settings=settings,
        train=train,
        dev=dev,
    )


def _settings(table: Any, path: Path, problems: list[str]) -> Settings:
    fields: dict[str, Any] = dataclasses.asdict(Settings())
    values: dict[str, Any] = {}
    for key, value in dict(table).items():
        kind: Any = type(fields.get(key))
        if key not in fields:
            problems.append(f"{path}: settings.{key} is unknown; use {', '.join(fields)}")
        elif isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            problems.append(f"{path}: settings.{key} is {value!r}; it must be {kind.__name__}")
        else:
            values[key] = kind(value)
    try:
        return Settings(**values)
    except DataError as error:
        problems += [f"{path}: settings: {problem}" for problem in error.problems]
        return Settings()


def _files(tables: Any, where: str, data: Path, problems: list[str]) -> tuple[DataFile, ...]:
    files = []
    for table in tables if isinstance(tables, list) else [tables]:
        if not isinstance(table, dict) or not isinstance(table.get("file"), str):
            problems.append(f"{where}: {table!r:.60} names no `file`")
            continue
        problems += [f"{where}: {key} is unknown" for key in table if key not in _FILE_KEYS]
        files.append(
            DataFile(
                data / table["file"],
                name=str(table.get("name", "")),
                source=str(table.get("source", "")),
                licence=str(table.get("licence", "not stated")),
            )
        )
    return tuple(files)
