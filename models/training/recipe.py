"""A recipe: which data and settings make a model, so that anybody with the data can make it again.

Needs no torch, so that the command line can check a recipe before it loads anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deadpan.core.errors import DataError
from deadpan.core.people_files import UnreadableFileError, read_toml
from models.training.settings import DataFile, Settings, Stage

RECIPES = Path(__file__).parent / "recipes"

_KEYS = {"name", "notes", "settings", "stage", "train", "dev"}
_FILE_KEYS = {
    *("file", "key", "name", "source", "licence", "hold_out", "class_balance"),
    *("labelling", "auxiliary"),
}
Chosen = TypeVar("Chosen", Settings, Stage, DataFile)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `models.training.run.train` takes.

    Attributes:
        train: files to learn from.
        dev: files to choose and measure on.
        stages: in their order; at least one.
        settings: of the model and the run.
    """

    name: str
    train: tuple[DataFile, ...]
    dev: tuple[DataFile, ...]
    stages: tuple[Stage, ...] = (Stage(),)
    settings: Settings = Settings()  # noqa: RUF009 - frozen
    notes: str = ""

    def __post_init__(self) -> None:
        """Check that stages and files fit together.

        Raises:
            DataError: naming every problem.
        """
        keys = [file.called for file in self.train]
        problems = [
            f"stage {stage.name!r} uses {key!r}, which is not one of the files: {', '.join(keys)}"
            for stage in self.stages
            for key in stage.train
            if key not in keys
        ]
        names = [stage.name for stage in self.stages]
        problems += [f"two stages are called {n!r}" for n in sorted(names) if names.count(n) > 1]
        if not self.stages:
            problems.append("there is no stage; add at least one [[stage]]")
        if problems:
            raise DataError(problems)

    def changed(self, *, seed: int | None = None, epochs: int | None = None) -> Recipe:
        """With another seed, or another number of epochs in every stage."""
        recipe = self
        if seed is not None:
            recipe = dataclasses.replace(
                recipe, settings=dataclasses.replace(recipe.settings, seed=seed)
            )
        if epochs is not None:
            stages = tuple(dataclasses.replace(stage, epochs=epochs) for stage in recipe.stages)
            recipe = dataclasses.replace(recipe, stages=stages)
        return recipe


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
        document = read_toml(path)
    except UnreadableFileError as error:
        raise DataError(
            f"recipe {str(spec)!r} {error}; name a TOML file or one of: {', '.join(recipe_names())}"
        ) from error
    problems = [f"{path}: {key} is unknown" for key in document if key not in _KEYS]
    settings = _made(Settings, document.get("settings", {}), f"{path}: settings", problems)
    stages = [
        _made(Stage, table, f"{path}: stage", problems)
        for table in _tables(document.get("stage", [{}]))
    ]
    files = {
        kind: _files(document.get(kind, []), f"{path}: {kind}", data, problems)
        for kind in ("train", "dev")
    }
    if problems:
        raise DataError(problems)
    return Recipe(
        name=str(document.get("name", path.stem)),
        train=files["train"],
        dev=files["dev"],
        stages=tuple(stages),
        settings=settings,
        notes=str(document.get("notes", "")),
    )


def _tables(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _made(cls: type[Chosen], table: Any, where: str, problems: list[str], **more: Any) -> Chosen:
    """Settings from a TOML table; what is wrong is added to `problems`."""
    if not isinstance(table, dict):
        problems.append(f"{where} is {table!r:.60}; write a table of settings")
        table = {}
    try:
        return cls(**table, **more)
    except DataError as error:
        problems += [f"{where}.{problem}" for problem in error.problems]
        return cls(**more)


def _files(tables: Any, where: str, data: Path, problems: list[str]) -> tuple[DataFile, ...]:
    files = []
    for table in _tables(tables):
        if not isinstance(table, dict) or not isinstance(table.get("file"), str):
            problems.append(f"{where}: {table!r:.60} names no `file`")
            continue
        problems += [f"{where}: {key} is unknown" for key in table if key not in _FILE_KEYS]
        known = {key: value for key, value in table.items() if key in _FILE_KEYS - {"file"}}
        files.append(_made(DataFile, known, where, problems, path=data / table["file"]))
    return tuple(files)
