"""Adds to the site what documents link to outside docs/. Called by mkdocs (see mkdocs.yml).

The README is the first page. Other Markdown files of the repository become pages under
`repository/`; a linked code file becomes a page that shows it, and a folder one that lists it. So
every link leads to the same thing in the repository and on the site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#]+)(?P<after>#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".mjs": "javascript", ".sh": "bash", ".yml": "yaml"}
LANGUAGES |= {".yaml": "yaml", ".toml": "toml", ".sql": "sql", ".json": "json"}
LANGUAGES |= {".go": "go", ".rb": "ruby", ".php": "php"}

_places: dict[str, str] = {}
"""Path on the site -> path in the repository, for pages that this file added."""


def place(path: str) -> str:
    """Where a path of the repository is on the site, as a path below docs/."""
    if path in ("README.md", "docs"):
        return "index.md"
    inside = posixpath.relpath(path, "docs")
    if not inside.startswith("..") and not inside.endswith(".py"):
        return posixpath.join(inside, "README.md") if (ROOT / path).is_dir() else inside
    if (ROOT / path).is_dir():
        readme = posixpath.join(path, "README.md")
        return (
            f"repository/{readme}" if (ROOT / readme).exists() else f"repository/{path}.folder.md"
        )
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.file.md"


def links(markdown: str, path: str) -> Iterator[tuple[re.Match[str], str]]:
    """The links of a page to files of the repository, each with the file's path."""
    fenced = [match.span() for match in FENCE.finditer(markdown)]
    for match in LINK.finditer(markdown):
        if any(start <= match.start() < end for start, end in fenced):
            continue
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        yield match, posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and those that they link to."""
    from mkdocs.structure.files import File, InclusionLevel

    _places.clear()
    known = {file.src_uri for file in files}
    todo = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    todo += [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    while todo:
        path = todo.pop()
        where = place(path)
        path = "README.md" if where == "index.md" else path
        if where not in known:
            known.add(where)
            _places[where] = path
            shown = where.endswith((".file.md", ".folder.md"))
            made = File.generated(config, where, content=content(path))
            if shown:
                made.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(made)
        if path.endswith(".md"):
            text = (ROOT / path).read_text(encoding="utf-8")
            for _, target in links(text, path):
                if (ROOT / target).exists() and place(target) not in known:
                    todo.append(target)
    return files


def content(path: str) -> str:
    """The page of a file or a folder."""
    there = ROOT / path
    if there.is_dir():
        readme = there / "README.md"
        if readme.exists():
            return readme.read_text(encoding="utf-8")
        rows = sorted(each.name + "/" * each.is_dir() for each in there.iterdir())
        shown = (f"- [{row}]({row})" if row.endswith(".md") else f"- `{row}`" for row in rows)
        return "\n".join([f"# {path}", "", *shown])
    text = there.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    # Longer than any fence inside.
    return f"# {path}\n\n``````{LANGUAGES.get(there.suffix, 'text')}\n{text}\n``````\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to where their files are on the site."""
    where = page.file.src_uri
    path = _places.get(where, f"docs/{where}")
    if not path.endswith(".md"):
        if not (ROOT / path).is_dir():
            return markdown
        path = f"{path}/README.md"
    parts, at = [], 0
    for match, target in links(markdown, path):
        there = posixpath.relpath(place(target), posixpath.dirname(where) or ".")
        parts += [markdown[at : match.start()], match["before"], there, match["after"] or ""]
        at = match.end()
    return "".join([*parts, markdown[at:]])
