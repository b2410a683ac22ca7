"""Whether a page holds: nothing beside the window, cut off or over its neighbour, in any font."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from playwright.sync_api import Page

#: DejaVu Sans, which Debian brings, has letters about 15 % wider than the fonts that most people
#: have; the space between them makes that a quarter more. The sheet is made by a script, for the
#: console's own policy lets no style element in.
WIDE_FONT: Final = """(() => {
  const wide = new CSSStyleSheet();
  wide.replaceSync('* { font-family: "DejaVu Sans", Verdana, sans-serif !important;'
    + ' letter-spacing: .15em !important; }');
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, wide];
})()"""
_MISFITS: Final = (Path(__file__).parent / "misfits.js").read_text(encoding="utf-8")


def misfits(page: Page) -> list[str]:
    """What of a page does not fit, in words; empty when all does."""
    found: list[str] = page.evaluate(_MISFITS)
    return found
