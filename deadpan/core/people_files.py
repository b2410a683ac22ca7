"""Files that people write: read with a size limit, as UTF-8, with errors in plain words.

UTF-8 is read with or without a byte order mark. Other encodings are named and refused rather than
guessed: a wrong guess is a post id or a word that nobody wrote. Data sets of others, often
Windows-1252, are the one exception (`models.data.records`).
"""

from __future__ import annotations

import codecs
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 2**20
"""Of a handwritten file, such as a policy."""

MARK: Final = codecs.BOM_UTF8

_REMEDY: Final = (
    "save it as UTF-8 (in PowerShell: Out-File -Encoding utf8; elsewhere: iconv -t UTF-8)"
)
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16, as PowerShell's > and Excel's Unicode text write it"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_FORMATS: Final = (
    (b"\x1f\x8b", "is gzipped; unpack it first"),
    (b"PK\x03\x04", "is a ZIP archive or a spreadsheet (.xlsx); save it as plain text"),
    (b"%PDF", "is a PDF; save it as plain text"),
)


class UnreadableFileError(ValueError):
    """A file cannot be read, or has the wrong format; the text follows the file's name."""


def read_bytes(path: Path, *, max_bytes: int | None = MAX_BYTES, pipes: bool = False) -> bytes:
    """All of a file.

    Args:
        max_bytes: larger files are refused; None sets no limit.
        pipes: whether it may be a pipe, such as a shell's <(…).

    Raises:
        UnreadableFileError: it is missing, not a file, too large or unreadable.
    """
    try:
        # Not blocking: a pipe without a writer would otherwise hang forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if pipes else os.O_NONBLOCK))
    except (OSError, ValueError) as error:
        raise UnreadableFileError(_cannot(error)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
            raise UnreadableFileError("is not a file but " + _kind(mode))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read() if max_bytes is None else file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableFileError(_cannot(error)) from None
    finally:
        os.close(descriptor)
    if max_bytes is not None and len(content) > max_bytes:
        raise UnreadableFileError(f"is larger than {max_bytes:,} bytes")
    return content


def read_text(path: Path, *, max_bytes: int | None = MAX_BYTES) -> str:
    """All of a text file, without its byte order mark.

    Raises:
        UnreadableFileError: as `read_bytes`, or it is not UTF-8.
    """
    return text_of(read_bytes(path, max_bytes=max_bytes))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        UnreadableFileError: as `read_text`, or it is not TOML.
    """
    return toml_of(read_text(path))


def toml_of(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        UnreadableFileError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UnreadableFileError("is not TOML: its brackets are nested too deep") from None
    except ValueError as error:
        raise UnreadableFileError(f"is not TOML: {error}") from None


def text_of(content: bytes) -> str:
    """Text of a file's bytes, without its byte order mark.

    Raises:
        UnreadableFileError: they are not UTF-8.
    """
    if problem := encoding_problem(content):
        raise UnreadableFileError(problem)
    try:
        return content.removeprefix(MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(
            f"is not UTF-8: line {line} holds the byte 0x{content[error.start]:02x}, as "
            f"Windows-1252 (ANSI) or Latin-1 have it; {_REMEDY}"
        ) from None


def encoding_problem(start: bytes) -> str | None:
    """Why a file is not UTF-8 text, judged by its first four bytes or more; None if it may be."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return f"is {name}; {_REMEDY}"
    for first, said in _FORMATS:
        if start.startswith(first):
            return said
    if start[1:2] == b"\0" and start[:1] != b"\0":
        return f"is UTF-16 without a mark; {_REMEDY}"
    if start[:1] == b"\0":
        kind = "UTF-16 without a mark" if start[1:2] not in (b"", b"\0") else "no text"
        return f"is {kind}: it begins with a zero byte; {_REMEDY}"
    return None


def _cannot(error: Exception) -> str:
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
