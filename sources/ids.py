"""Many post ids in order: from a file or a stream, one a line, plain or gzipped.

Memory stays the same however many there are, and reading can go on where it ended, if what was read
before is still what it was.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from deadpan.core.errors import DataError
from deadpan.core.people_files import MARK, encoding_problem

LONGEST_LINE_BYTES = 65_536
"""Of a longer line, this much is given; the rest is read over."""


class IdSource(Protocol):
    """Gives post ids, and a place to go on from after each."""

    unit: str
    """What its ids are counted in: line or row."""

    kind: str
    """What a place belongs to; a source of another kind cannot go on from it."""

    last: bytes | None
    """The id that was given last, also by the run before."""

    @property
    def place(self) -> dict[str, Any]:
        """Where reading goes on after the id that was given last; JSON."""

    @property
    def fraction(self) -> float | None:
        """How much of it was given, from 0 to 1; None when nobody knows how much there is."""

    def start(self, place: Mapping[str, Any] | None) -> None:
        """Open it, and go on from a place.

        Raises:
            DataError: it cannot be read, or is not what it was.
            SourceError: a database refuses.
        """

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Gives ids with their numbers, from 1. Raises as `start`."""

    def rest(self) -> None:
        """Nothing is read for a while."""

    def close(self) -> None:
        """Let go of it."""


class IdFile:
    """Lines of a file, or of standard input.

    A place holds a digest of all bytes before it, for a file that was written anew has other ids at
    the same line. What was added behind it since is read as if it had always been there.

    Args:
        path: of the file; None reads standard input.

    Raises:
        DataError: there is no such file.
    """

    unit = "line"
    kind = "lines"

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.exists():
            raise DataError(f"there is no file {path}; name one with a post id a line")
        self.name = "standard input" if path is None else str(path)
        self.last: bytes | None = None
        self._path = path
        self._lines = self._bytes = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._size: int | None = None
        self._read = 0
        self._file: io.BufferedReader | None = None
        self._stream: io.BufferedReader | None = None
        self._is_packed = False

    @property
    def place(self) -> dict[str, Any]:
        """Lines and bytes before it, and their digest."""
        return {"lines": self._lines, "bytes": self._bytes, "digest": self._digest.hexdigest()}

    @property
    def fraction(self) -> float | None:
        """By bytes; of a gzipped file, by those of the packed one."""
        if not self._size:
            return None
        if self._is_packed:
            self._read = self._file.raw.tell() if self._file else self._read
        else:
            self._read = self._bytes
        return min(1.0, self._read / self._size)

    def start(self, place: Mapping[str, Any] | None) -> None:
        """Open it; what was read before is read again, to see that it has not changed."""
        try:
            stdin = cast(io.BufferedReader, sys.stdin.buffer)
            self._file = stdin if self._path is None else self._path.open("rb")
            about = os.fstat(self._file.fileno())
            self._size = about.st_size if stat.S_ISREG(about.st_mode) else None
            self._is_packed = self._file.peek(2)[:2] == b"\x1f\x8b"
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {error.strerror}") from None
        self._stream = self._file
        if self._is_packed:
            unpacked = gzip.GzipFile(fileobj=self._file)
            self._stream = io.BufferedReader(cast(io.RawIOBase, unpacked), LONGEST_LINE_BYTES)
        self._refuse_other_encodings()
        if place is None:
            return
        given = iter(self)
        while self._bytes < place["bytes"]:
            if next(given, None) is None:
                break
        if self.place != dict(place):
            raise DataError(
                f"{self.name} has changed: its first {place['lines']} lines, which were "
                "pushed, are different now; restore the old file, or push the new one from its "
                "start with --restart"
            )

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Gives lines without their ends."""
        assert self._stream is not None
        readline, digest = self._stream.readline, self._digest.update
        try:
            while line := readline(LONGEST_LINE_BYTES):
                digest(line)
                self._bytes += len(line)
                self._lines += 1
                if len(line) == LONGEST_LINE_BYTES and line[-1:] != b"\n":
                    self._read_over()
                if self._lines == 1:
                    line = line.removeprefix(MARK)
                self.last = line.rstrip(b"\r\n")
                yield self._lines, self.last
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self.name} cannot be read after line {self._lines}: {error}; what comes before "
                "that was pushed; fix the file and run the same command again"
            ) from None

    def _refuse_other_encodings(self) -> None:
        """Before anything is pushed: half of such a file's lines would look like ids."""
        assert self._stream is not None
        try:
            problem = encoding_problem(self._stream.peek(4)[:4])
        except (OSError, EOFError, zlib.error) as error:
            problem = f"cannot be read: {error}"
        if problem is not None:
            raise DataError(f"{self.name} {problem}")

    def _read_over(self) -> None:
        """The rest of a line that is too long."""
        assert self._stream is not None
        while more := self._stream.readline(LONGEST_LINE_BYTES):
            self._digest.update(more)
            self._bytes += len(more)
            if more[-1:] == b"\n":
                return

    def rest(self) -> None:
        """A file costs nothing while it is open."""

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._file = None
