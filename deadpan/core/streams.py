"""Standard output and error that take any text, on any terminal and pipe.

Posts come in any script, and a cp1252 console or an ASCII pipe has few of them: characters that it
lacks are escaped instead of raising an error.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import Final

_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("–—−‑━─╸╺", "-"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("·•", "*"),
        "…": "...",
        "×": "x",
        "→": "->",
        "≥": ">=",
        "≤": "<=",
        "█": "#",
        "│": "|",
        "\u00a0": " ",
    }
)
"""Characters of our own words and tables."""


def _spelt_out(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    # Escaped as in JSON, so that JSON stays JSON.
    spelt = "".join(c if c.isascii() else _escaped(c) for c in plain)
    return spelt, error.end


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def fit() -> None:
    """Make standard output and error escape what their encoding lacks."""
    codecs.register_error("deadpan.spelt-out", _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="deadpan.spelt-out")


def is_unicode() -> bool:
    """Whether standard output can hold every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
