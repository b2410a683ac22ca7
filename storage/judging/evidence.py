"""The evidence store: what the model saw, each thing under the SHA-256 of its content.

A local folder, or anywhere fsspec reaches (`s3://bucket/prefix` with s3fs installed).
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec

from deadpan.core.errors import EvidenceUnavailable, SettingsError

_SETTING = "DEADPAN_EVIDENCE_URL"
#: Stores in which an object is seen whole or not at all, so that moving it into place is only cost.
_WHOLE_OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}


class EvidenceStore:
    """Content by its SHA-256, at a folder's path or a URL that fsspec understands; SettingsError if
    that cannot be opened. Safe for several threads and processes at once.
    """

    def __init__(self, url: str) -> None:
        self.name = _without_secrets(url)
        if not url:
            raise SettingsError(f"{_SETTING} is empty; name a folder or a URL such as s3://bucket")
        try:
            # Without listings, because another worker's files must be seen at once.
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise SettingsError(
                f"{_SETTING}: {self.name} needs a package that is not installed: {error}"
            ) from error
        except Exception as error:
            # Every fsspec backend has exceptions of its own, without a common base.
            raise SettingsError(
                f"{_SETTING}: {self.name} cannot be opened ({type(error).__name__}); "
                "name a folder or a URL such as s3://bucket/prefix"
            ) from error
        self._root = root.rstrip("/")
        protocol = self._files.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._is_local = "file" in names
        self._keeps_whole_objects = bool(names & _WHOLE_OBJECTS)

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None for a store elsewhere."""
        return Path(self._root) if self._is_local else None

    def put(self, content: bytes) -> str:
        """Stores content that is not there yet, and returns its SHA-256, 64 hexadecimal digits;
        EvidenceUnavailable if that fails.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        with self._in_words("write"):
            # By size and not by name alone: after a power cut a local file may be there and empty,
            # for nothing here waits for the disk (5 ms and more for each picture).
            if self._size(path) != len(content):
                self._write(path, content)
        return sha256

    def get(self, sha256: str) -> bytes:
        """Returns the content, after comparing it with its SHA-256.

        Raises:
            ValueError: not 64 hexadecimal digits.
            EvidenceUnavailable: it is missing or altered, or the store cannot be read.
        """
        path = self._path(sha256)
        content: bytes | None = None
        with self._in_words("read"), suppress(FileNotFoundError):
            content = self._files.cat_file(path)
        if content is None:
            raise EvidenceUnavailable(
                f"evidence {sha256} is not in {self.name}; it was erased, or {_SETTING} "
                "has changed since it was stored"
            )
        if hashlib.sha256(content).hexdigest() != sha256:
            raise EvidenceUnavailable(
                f"evidence {sha256} in {self.name} is not what was stored; restore it from a backup"
            )
        return content

    def delete(self, sha256: str) -> bool:
        """Removes content, and says whether it was there.

        Raises:
            ValueError: not 64 hexadecimal digits.
            EvidenceUnavailable: it could not be removed.
        """
        path = self._path(sha256)
        with self._in_words("remove"), suppress(FileNotFoundError):
            self._files.rm_file(path)
            return True
        return False

    def writable_problem(self) -> str | None:
        """Tries to write, and says why that fails; None if it does not."""
        path = f"{self._root}/.writable-{uuid.uuid4().hex}"
        try:
            with self._in_words("write"):
                self._write(path, b"deadpan")
                self._files.rm_file(path)
        except EvidenceUnavailable as error:
            return str(error)
        return None

    def _path(self, sha256: str) -> str:
        # Anything else could be a path out of the store.
        if re.fullmatch(r"[0-9a-f]{64}", sha256) is None:
            raise ValueError(f"{sha256[:80]!r} is not a SHA-256; it must be 64 hexadecimal digits")
        return f"{self._root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def _size(self, path: str) -> int | None:
        try:
            if self._is_local:
                return os.stat(path).st_size
            size = self._files.info(path)["size"]
        except FileNotFoundError:
            return None
        return None if size is None else int(size)

    def _write(self, path: str, content: bytes) -> None:
        if self._keeps_whole_objects:
            self._files.pipe_file(path, content)
            return
        part = f"{path}.{uuid.uuid4().hex}.part"
        try:
            if self._is_local:
                _write_local(part, content)
                os.replace(part, path)
            else:
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(part, content)
                self._files.mv(part, path)
        except BaseException:
            # The error that led here is the one to be raised.
            with suppress(Exception):
                self._files.rm_file(part)
            raise

    @contextmanager
    def _in_words(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            said = said.splitlines()[0][:300] if said else ""
            raise EvidenceUnavailable(
                f"cannot {verb} evidence at {self.name}: {said or type(error).__name__}; "
                f"check {_SETTING}, free space and permissions"
            ) from error


def _write_local(path: str, content: bytes) -> None:
    """Without fsspec, which takes five times as long for a small file."""
    try:
        file = open(path, "xb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, "xb")  # noqa: SIM115 - closed below
    with file:
        file.write(content)


def _without_secrets(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place = rest.partition("?")[0]
    return f"{scheme}://{'***@' + place.rpartition('@')[2] if '@' in place else place}"
