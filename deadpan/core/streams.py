"""Standard output and error that hold whatever is written to them, on any terminal and pipe.

A platform's words are in any script, and a cp1252 console or an ASCII pipe holds few of them. What
it cannot hold is spelt out; nothing that is said ends in an error about how it was said.
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
"""What our own words and tables are made of."""


def _spelt_out(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    # What is left is spelt as JSON spells it, so that a document stays one.
    spelt = "".join(c if c.isascii() else _escaped(c) for c in plain)
    return spelt, error.end


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def fit() -> None:
    """Let standard output and error spell out what their encoding lacks."""
    codecs.register_error("deadpan.spelt-out", _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="deadpan.spelt-out")


def is_unicode() -> bool:
    """Whether standard output holds every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
