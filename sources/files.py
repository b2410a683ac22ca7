"""A JSONL file as a post source: one post a line, images beside it."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deadpan.core.errors import SettingsError
from deadpan.core.post_fields import WrongFieldError
from sources.mapping import PostMapping, id_of, post_of
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedImage, FetchFailure, Found, Gone
from sources.source import Look, PicturedSource

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 4 * 1024 * 1024

_SETTLED_SECONDS = 5.0
"""A file that changed less than this ago may be written still, and hold more in a moment."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class _Index:
    """Where each post is: its line's offset and length in bytes, and its number."""

    state: tuple[int, ...]
    lines: dict[str, tuple[int, int, int]]
    unusable: int
    first_unusable: int
    is_first: bool


def _state(file: BinaryIO) -> tuple[int, ...]:
    about = os.fstat(file.fileno())
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


class FileSource(PicturedSource):
    """Fetches posts from a JSONL file; labels in it are not looked at.

    The file is read once, to note where each post is; the posts stay on disk. A file that has
    changed since, or another one in its place, is read again.

    Args:
        path: the file. Image paths in it are relative to its folder and may not leave it.
        limits: for its images, read or downloaded.

    Raises:
        SettingsError: the file cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        limits: ImageLimits | None = None,
        mapping: PostMapping | None = None,
        threads: int = 8,
        look: Look | None = None,
    ) -> None:
        self._path = Path(path)
        self._limits = limits or ImageLimits()
        self._mapping = mapping or PostMapping()
        self._look = look
        self._lock = threading.Lock()
        try:
            self._folder = self._path.parent.resolve()
            with open(self._path, "rb") as file:
                self._index = self._read(file, is_first=True)
        except (OSError, ValueError) as error:
            raise SettingsError(unreadable(path, error)) from error
        super().__init__(self._limits, threads, self._image)

    def _read(self, file: BinaryIO, *, is_first: bool = False) -> _Index:
        lines: dict[str, tuple[int, int, int]] = {}
        unusable = 0
        first = None
        state = _state(file)  # before it is read: a change meanwhile is one
        with open(os.dup(file.fileno()), "rb") as reading:
            reading.seek(0)
            offset = number = 0
            while line := reading.readline(MAX_LINE_BYTES):
                number += 1
                length = len(line)
                is_whole = line.endswith(b"\n") or length < MAX_LINE_BYTES
                if not is_whole:
                    while (rest := reading.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        length += len(rest)
                    length += len(rest)
                post_id = id_of(_parsed(line), self._mapping) if is_whole else None
                if post_id is not None:
                    lines.setdefault(post_id, (offset, length, number))
                elif line.strip():
                    unusable += 1
                    first = first or number
                offset += length
        if unusable:
            log.warning(
                "%s: %d lines have no post with field '%s' and are skipped",
                self._path,
                unusable,
                self._mapping.id,
            )
        return _Index(state, lines, unusable, first or 0, is_first)

    def find(self, post_ids: Sequence[str]) -> dict[str, Found]:
        """Read posts, without their images."""
        try:
            with open(self._path, "rb") as file:
                with self._lock:
                    if _state(file) != self._index.state:
                        log.info("%s has changed, and is read again", self._path)
                        self._index = self._read(file)
                    index = self._index
                return {post_id: self._found(post_id, index, file) for post_id in post_ids}
        except OSError as error:
            problem = unreadable(self._path, error)
            return {each: FetchFailure(each, problem, True, outage=True) for each in post_ids}

    def _found(self, post_id: str, index: _Index, file: BinaryIO) -> Found:
        if post_id not in index.lines:
            return self._absent(post_id, index)
        offset, length, number = index.lines[post_id]
        value = _parsed(os.pread(file.fileno(), length, offset))
        if id_of(value, self._mapping) != post_id:
            error_text = f"{self._path} was changed while it was read"
            return FetchFailure(post_id, error_text, transient=True)
        if self._look is not None:
            self._look(post_id, value)
        try:
            return post_of(post_id, value, self._mapping)
        except WrongFieldError as error:
            return FetchFailure(post_id, f"{self._path} line {number}: {error}", transient=False)

    def _absent(self, post_id: str, index: _Index) -> Gone | FetchFailure:
        written_at = index.state[-1] / 1e9
        if not index.is_first and time.time() - written_at < _SETTLED_SECONDS:
            error_text = f"{self._path} has no such post, and was changed a moment ago"
            return FetchFailure(post_id, error_text, transient=True)
        if not index.unusable:
            return Gone(post_id, f"{self._path} has no such post")
        # It may stand in one of those.
        return FetchFailure(
            post_id,
            f"{self._path} has no such post that can be read, and {index.unusable} lines without "
            f"a post with field '{self._mapping.id}', the first in line {index.first_unusable}",
            transient=False,
        )

    def _image(self, location: str) -> FetchedImage | None:
        if _SCHEME.match(location):
            return None  # to be downloaded
        try:
            path = (self._folder / location).resolve()
            if not path.is_relative_to(self._folder):
                return FetchedImage(location, problem="the image path leaves the posts' folder")
            content = _read(path, self._limits.max_bytes)
        except (OSError, ValueError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return FetchedImage(location, problem=f"the image cannot be read: {ascii(why)[1:-1]}")
        if len(content) > self._limits.max_bytes:
            problem = f"the image is larger than {self._limits.max_bytes} bytes"
            return FetchedImage(location, problem=problem)
        if not content:
            return FetchedImage(location, problem="the image file is empty")
        return FetchedImage(location, content=content)


def _read(path: Path, max_bytes: int) -> bytes:
    """At most one byte more than `max_bytes` of a regular file."""
    # Not blocking: a named pipe without a writer would otherwise hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a file")
        return file.read(max_bytes + 1)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def unreadable(path: str | Path, error: Exception) -> str:
    """Say that a file of posts cannot be read, why, and what to do."""
    why = getattr(error, "strerror", None) or str(error)
    return f"DEADPAN_SOURCE: the file '{path}' cannot be read ({why}); name a JSONL file of posts"
