"""Folders in which one command works at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deadpan.core.errors import ConfigurationError


@contextmanager
def held(folder: Path, marker: str) -> Iterator[None]:
    """Make a folder, and keep it for this process alone while the block runs.

    Args:
        marker: name of the file in it that is locked; it stays.

    Raises:
        ConfigurationError: another process holds it, or it cannot be written to.
    """
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / marker).open("a", encoding="utf-8")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"--folder {folder} is in use by another deadpan; end that one, or give another "
                "--folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def empty(folder: Path, marker: str) -> None:
    """Remove what a folder that is held has in it, but its marker.

    Raises:
        ConfigurationError: something in it cannot be removed.
    """
    with _told(folder):
        for path in folder.iterdir():
            if path.name == marker:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"--folder {folder} cannot be used: {error.strerror}; give one that can be written to"
        ) from None
