"""What the Makefile would do, in a folder where nothing is installed and where all is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def would_do(target: str, folder: Path) -> str:
    make = shutil.which("make")
    assert make, "install make to run this test"
    for name in ("Makefile", "pyproject.toml"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    done = subprocess.run(
        [make, "--dry-run", target], cwd=folder, capture_output=True, check=True, encoding="utf-8"
    )
    return done.stdout


@pytest.mark.parametrize("target", ["demo", "install"])
def test_a_demo_installs_only_what_a_demo_needs(target: str, tmp_path: Path) -> None:
    # It reads the words in its pictures, where that extra is there.
    assert "--editable '.[ocr]'" in would_do(target, tmp_path)
    assert "[dev" not in would_do(target, tmp_path)


@pytest.mark.parametrize(
    "target", ["test", "test-long", "check", "format", "docs", "bench", "chaos"]
)
def test_developers_get_the_rest_on_top_and_again_when_it_changes(
    target: str, tmp_path: Path
) -> None:
    said = would_do(target, tmp_path)
    assert said.index("--editable '.[ocr]'\n") < said.index("--editable '.[dev]'")
    stamps = [tmp_path / ".venv" / name for name in (".installed", ".installed-dev")]
    stamps[0].parent.mkdir()
    # After a demo: only the rest is missing.
    project = os.stat(tmp_path / "pyproject.toml").st_mtime
    stamps[0].touch()
    os.utime(stamps[0], (project + 10, project + 10))
    said = would_do(target, tmp_path)
    assert "--editable '.[ocr]'\n" not in said
    assert "--editable '.[dev]'" in said
    stamps[1].touch()
    os.utime(stamps[1], (project + 20, project + 20))
    assert "pip install" not in would_do(target, tmp_path)
    os.utime(tmp_path / "pyproject.toml", (project + 30, project + 30))
    said = would_do(target, tmp_path)
    assert said.index("--editable '.[ocr]'\n") < said.index("--editable '.[dev]'")
