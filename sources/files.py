"""A JSONL file as a post source: one post a line, images beside it."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deadpan.errors import SettingsError
from deadpan.post_fields import WrongFieldError
from sources.download import ImageDownloader, ImageLimits
from sources.mapping import PostMapping, id_of, post_of
from sources.post import FetchedImage, FetchFailure, FetchResult, Gone, Post

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 4 * 1024 * 1024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class FileSource:
    """Fetches posts from a JSONL file; labels in it are not looked at.

    The file is read once, to note where each post is; the posts stay on disk.

    Args:
        path: the file. Image paths in it are relative to its folder and may not leave it.
        limits: for its images, read or downloaded.
        threads: images at once.

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
    ) -> None:
        self._path = Path(path)
        self._limits = limits or ImageLimits()
        self._mapping = mapping or PostMapping()
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise SettingsError(unreadable(path, error)) from error
        try:
            self._folder = self._path.parent.resolve()
            self._lines = self._index()
        except OSError as error:
            os.close(self._file)
            raise SettingsError(unreadable(path, error)) from error
        self._images = ImageDownloader(self._limits, threads=threads)
        self._is_closed = False

    def close(self) -> None:
        """Give back the file and the threads."""
        if not self._is_closed:
            self._is_closed = True
            self._images.close()
            os.close(self._file)

    def _index(self) -> dict[str, tuple[int, int, int]]:
        """Where each post is: its line's offset and length in bytes, and its number."""
        lines: dict[str, tuple[int, int, int]] = {}
        unusable = 0
        with open(os.dup(self._file), "rb") as file:
            offset = number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                length = len(line)
                is_whole = line.endswith(b"\n") or length < MAX_LINE_BYTES
                if not is_whole:
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        length += len(rest)
                    length += len(rest)
                post_id = id_of(_parsed(line), self._mapping) if is_whole else None
                if post_id is not None:
                    lines.setdefault(post_id, (offset, length, number))
                elif line.strip():
                    unusable += 1
                offset += length
        if unusable:
            log.warning(
                "%s: %d lines hold no post with field '%s' and are left out",
                self._path,
                unusable,
                self._mapping.id,
            )
        return lines

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """Fetch posts and their images; see `sources.post.PostSource`."""
        found = {post_id: self._found(post_id) for post_id in dict.fromkeys(post_ids)}
        posts = [result for result in found.values() if isinstance(result, Post)]
        completed: dict[str, FetchResult] = {
            fetched.post.id: fetched for fetched in self._images.complete(posts, self._image)
        }
        return {
            post_id: completed[post_id] if isinstance(result, Post) else result
            for post_id, result in found.items()
        }

    def _found(self, post_id: str) -> Post | Gone | FetchFailure:
        if post_id not in self._lines:
            return Gone(post_id, f"{self._path} has no such post")
        offset, length, number = self._lines[post_id]
        try:
            value = _parsed(os.pread(self._file, length, offset))
        except OSError as error:
            return FetchFailure(post_id, unreadable(self._path, error), transient=True)
        if id_of(value, self._mapping) != post_id:
            error_text = f"{self._path} was changed after it was opened; start again to read it"
            return FetchFailure(post_id, error_text, transient=False)
        try:
            return post_of(post_id, value, self._mapping)
        except WrongFieldError as error:
            return FetchFailure(post_id, f"{self._path} line {number}: {error}", transient=False)

    def _image(self, location: str) -> FetchedImage:
        if _SCHEME.match(location):
            return self._images.download(location)
        try:
            path = (self._folder / location).resolve()
            if not path.is_relative_to(self._folder):
                return FetchedImage(location, problem="the image path leaves the folder of posts")
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
