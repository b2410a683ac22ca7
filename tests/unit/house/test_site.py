"""The documents as a site: strict, and nothing in it is asked of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_document_is_a_page_that_the_first_page_leads_to(site: Path) -> None:
    named = set(
        re.findall(r'<a href="([^"#]+)" class="md-nav__link', (site / "index.html").read_text())
    )
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT / "docs").with_suffix(".html")
        if path.stem == "README":
            path = path.with_name("index.html")
        assert str(path) in named


def test_what_lies_outside_of_the_documents_is_shown_as_well(site: Path) -> None:
    assert "RPUSH" in (site / "repository/examples/shell/judge.sh.file.html").read_text()
    assert "Model card" in (site / "repository/models/presets/mini/index.html").read_text()


def test_links_lead_to_files_of_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'<a [^>]*href="([^"#?]+)', page.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(site)}: {target}"


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loads = r'<(?:script|img|iframe|source)[^>]* src="([^"]+)|<link[^>]* href="([^"]+)'
    for page in site.rglob("*.html"):
        for found in re.findall(loads, page.read_text()):
            assert not re.match(r"(?:https?:)?//", "".join(found)), f"{page.name}: {found}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", sheet.read_text()), sheet.name
