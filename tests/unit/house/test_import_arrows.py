"""Every room of the house uses only the rooms below it, as docs/architecture.md draws them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

CORE = "deadpan.core"

PLAIN = {
    f"{CORE}.{leaf}"
    for leaf in ("database_url", "errors", "people_files", "post_fields", "redis_url", "times")
}
"""What packages may use that take plain arguments: these know no settings, logs or spans."""

FLOORS = {
    "storage": "base tables migrations people judging flags reports reviews keeping trials",
    "sources": "net post pictures",
    "models": "posts network checkpoint engines serving data evaluation training",
    "tasks": "policy intake callbacks order housekeeping watches challenger moderate",
    "console": "web work people pages api",
    "worker": "local . fleet",
    "deadpan": "core demo commands",
}
"""The rooms of each package from the lowest up; what lies in a package's own folder stands on top
of all, or where the `.` is."""

USES: dict[str, set[str]] = {
    "storage": PLAIN,
    "sources": PLAIN,
    "models": PLAIN,
    "tasks": {"storage", "sources", "models", CORE},
    "console": {"storage", "sources", "tasks.policy", "tasks.intake", "tasks.housekeeping", CORE},
    "worker": {"storage", "sources", "models", "tasks", CORE},
}
"""What of other packages each may use; the front door, `deadpan`, uses every one."""


def floors(package: str) -> list[str]:
    rooms = FLOORS[package].split()
    return [
        package if room == "." else f"{package}.{room}"
        for room in (rooms if "." in rooms else [*rooms, "."])
    ]


def room_of(module: str) -> str:
    """`storage.flags` for `storage.flags.claims`, and `console` for `console.app`."""
    room = ".".join(module.split(".")[:2])
    is_folder = "." in room and (ROOT / room.replace(".", "/")).is_dir()
    return room if is_folder or room in floors(module.split(".")[0]) else module.split(".")[0]


def modules() -> Iterator[tuple[str, Path]]:
    for package in FLOORS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    """All modules of ours that a file imports: inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            assert node.module
            # `from package import module` imports the module; a name that is none is the package's.
            for alias in node.names:
                inner = ROOT / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                found.append(f"{node.module}.{alias.name}" if is_module else node.module)
        yield from (name for name in found if name.split(".")[0] in FLOORS)


def is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_has_its_floor(package: str) -> None:
    rooms = {room_of(name) for name, _ in modules() if is_below(name, package)}
    assert rooms == set(floors(package))


@pytest.mark.parametrize("package", FLOORS)
def test_a_room_uses_only_rooms_below_it(package: str) -> None:
    order = floors(package)
    wrong = [
        f"{name} imports {used}"
        for name, path in modules()
        if is_below(name, package)
        for used in imports(path)
        if is_below(used, package) and used != package
        if order.index(room_of(used)) > order.index(room_of(name))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", USES)
def test_a_package_uses_only_what_the_design_lets_it(package: str) -> None:
    wrong = [
        f"{name} imports {used}"
        for name, path in modules()
        if is_below(name, package)
        for used in imports(path)
        if not is_below(used, package) and not any(is_below(used, place) for place in USES[package])
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {name: set(imports(path)) - {name} for name, path in modules()}
    while True:
        used = set().union(*arrows.values())
        kept = {
            name: arrows[name] & arrows.keys()
            for name in arrows
            if name in used and arrows[name] & arrows.keys()
        }
        if kept == arrows:
            break
        arrows = kept
    assert arrows == {}


def test_the_drawing_shows_the_rooms() -> None:
    drawing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package, rooms in FLOORS.items():
        shown = re.search(rf"^{package} +(.+)$", drawing, flags=re.MULTILINE)
        assert shown, f"docs/architecture.md draws no {package}"
        assert shown[1].split(" > ") == [room for room in rooms.split()[::-1] if room != "."]


@pytest.mark.parametrize(
    "statement",
    [
        "from tasks import enqueue",
        "import deadpan.cli",
        "import console.app",
        "import worker.local.embedded",
        "import worker.checks",
        "import storage.judging.queries",
        "import sources.open",
        "import models.posts.prediction",
    ],
)
def test_what_needs_no_model_does_not_load_torch(statement: str) -> None:
    code = (
        f"import sys\n{statement}\nprint(sorted({{'torch', 'transformers'}} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_command() -> None:
    code = (
        "import sys\nimport deadpan.cli\n"
        "print(sorted({'celery', 'sqlalchemy', 'fastapi', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
