"""Files that engines keep between starts: converted models, and which engine was the faster.

All of it can be made again, so nothing here fails: what cannot be read is not there, and what
cannot be written costs the next start its time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def key_of(identity: Mapping[str, Any]) -> str:
    """24 hexadecimal digits that change with anything in `identity`."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_files(folder: Path) -> dict[str, bytes] | None:
    """What `write_files` wrote, or None if it is not there whole.

    Files are checked by SHA-256: weights with a bit turned would be loaded, and judge wrongly.
    """
    if not folder.is_dir():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        found = {}
        for name, sha256 in manifest["files"].items():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"{name} was altered")
            found[str(name)] = content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s) and is made again", folder, error)
        return None
    return found


def write_files(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write files that belong together: all of them, or none.

    Returns:
        Whether they are there now; if not, why is logged.
    """
    token = secrets.token_hex(4)
    temporary = folder.parent / f".{folder.name}.{token}.new"
    retired = folder.parent / f".{folder.name}.{token}.old"
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        # native code loads these files: nobody else may write them
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        for name, content in files.items():
            _write(temporary / name, content)
        _write(temporary / MANIFEST, json.dumps({"files": hashes}, indent=1).encode())
        if folder.exists():
            folder.rename(retired)
        temporary.rename(folder)
    except OSError as error:
        # of two processes that write the same, one comes first, and its files serve both
        if not folder.is_dir():
            _not_kept(folder, error)
            return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)
    return True


def read_json(path: Path) -> Any:
    """A document, or None if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, document: Any) -> None:
    """Write a document in one step, or log why not."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(temporary, json.dumps(document, indent=1).encode())
        temporary.replace(path)
    except OSError as error:
        _not_kept(path, error)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _not_kept(path: Path, error: OSError) -> None:
    log.warning(
        "cannot write %s (%s), so the next start makes it again; "
        "free some space, or set DEADPAN_CACHE_DIR to a writable folder",
        path,
        error.strerror or error,
    )
