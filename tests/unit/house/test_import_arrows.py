"""Import arrows go one way, as docs/architecture.md draws them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = ("deadpan", "worker", "tasks", "models", "sources", "storage", "console")

# Leaves that anybody may use; everything else in deadpan/ is the front door itself.
PLAIN = {
    "deadpan.core",
    "deadpan.core.database_url",
    "deadpan.core.errors",
    "deadpan.core.people_files",
}
"""Of these, the ones that know no settings, for packages that take plain arguments."""

SHARED = PLAIN | {
    "deadpan.core.settings",
    "deadpan.core.logs",
    "deadpan.core.post_fields",
    "deadpan.core.redis_url",
    "deadpan.core.otel_sdk",
    "deadpan.core.spans",
    "deadpan.core.times",
    "deadpan.core.trace",
    "deadpan.core.variables",
    "deadpan.core.waiting",
}

ALLOWED = {
    "worker": {"worker", "tasks", "models", "sources", "storage", *SHARED},
    "console": {
        "console",
        "storage",
        "tasks.intake.arrivals",
        "tasks.housekeeping.erasure",
        "tasks.intake.intake",
        "tasks.policy.reason_codes",
        "tasks.intake.replay",
        *SHARED,
    },
    "tasks": {"tasks", "models", "sources", "storage", *SHARED},
    "models": {"models", "deadpan.core.post_fields", *PLAIN},
    "sources": {"sources", "deadpan.core.post_fields", "deadpan.core.times", *PLAIN},
    "storage": {"storage", *PLAIN},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            assert node.module
            # `from package import module` imports the module; a name that is none is the package's.
            for alias in node.names:
                as_module = f"{node.module}.{alias.name}"
                is_module = (ROOT / as_module.replace(".", "/")).with_suffix(".py").exists()
                is_package = (ROOT / as_module.replace(".", "/") / "__init__.py").exists()
                yield as_module if is_module or is_package else node.module


def allowed(package: str, name: str) -> bool:
    return any(
        name == target or (target not in SHARED and name.startswith(f"{target}."))
        for target in ALLOWED[package]
    )


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_the_design_lets_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in OURS and not allowed(package, name)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", sorted(SHARED))
def test_the_shared_leaves_import_nothing_of_ours_but_each_other(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    ours = {n for n in imports(file) if n.split(".")[0] in OURS}
    assert {n for n in ours if not n.startswith(f"{module}.")} <= SHARED


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
