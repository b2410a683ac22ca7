"""Posts that moderators labelled, as a data set that training and evaluation can read."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, or_, select

from deadpan.core.errors import ConfigurationError, EvidenceUnavailable
from storage import tables
from storage.flags.decided import is_undone
from storage.judging.evidence import EvidenceStore
from storage.tables import decisions

_T = TypeVar("_T")
POSTS_FILE: Final = "posts.jsonl"
_IMAGES: Final = "images"
_LABELS: Final = ("sentiment", "sarcastic", "offensive")
_IN_MEMORY_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Labelled:
    """A post and what moderators said of it, with the evidence of the verdict that was decided; at
    least one of the labels is known.
    """

    post_id: str
    evidence: tuple[dict[str, str], ...]
    sentiment: str | None
    sarcastic: bool | None
    offensive: bool | None


@dataclass(slots=True)
class Tally:
    """What an export holds, counted while it is written.

    Attributes:
        without_evidence: posts left out because their content is no longer stored.
        problem: why the last of them could not be read.
    """

    posts: int = 0
    images: int = 0
    without_evidence: int = 0
    problem: str | None = None


def moment(text: str) -> datetime:
    """A moment as people write it, in UTC if it has no time zone; ConfigurationError if invalid."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"since is {text[:80]!r}; write a day or a moment, as 2026-01-31 or 2026-01-31T12:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def labelled(connection: Connection, *, since: datetime | None = None) -> Iterator[Labelled]:
    """Yields the posts that moderators labelled (since a moment), in the order of their ids.

    Undone decisions do not count. Where several were made of the same content, the later one wins,
    for each label by itself; of a post that changed, only the content that was decided last counts.
    What was erased has no evidence and is left out.
    """
    made, flags, verdicts = decisions.c, tables.flags.c, tables.verdicts.c
    statement = (
        select(
            flags.post_id,
            verdicts.content_hash,
            verdicts.evidence,
            *(made[name] for name in _LABELS),
        )
        .join(tables.flags, flags.id == made.flag_id)
        .join(tables.verdicts, verdicts.id == made.verdict_id)
        .where(
            made.action != "undo",
            or_(*(made[name].is_not(None) for name in _LABELS)),
            ~is_undone(),
        )
        .order_by(flags.post_id, made.id)
        .execution_options(yield_per=1000)
    )
    if since is not None:
        statement = statement.where(made.created_at >= since)
    for post_id, rows in groupby(connection.execute(statement), key=lambda row: row.post_id):
        said = list(rows)
        last = said[-1]
        if not last.evidence:
            continue
        same = [row for row in said if row.content_hash == last.content_hash]
        yield Labelled(
            post_id,
            tuple(last.evidence),
            **{name: last_known(getattr(row, name) for row in same) for name in _LABELS},
        )


def last_known(values: Iterable[_T | None]) -> _T | None:
    """The last value that is not None."""
    return next((each for each in reversed(list(values)) if each is not None), None)


def write_folder(
    connection: Connection, store: EvidenceStore, folder: Path, *, since: datetime | None = None
) -> Tally:
    """Writes the pictures and then `posts.jsonl` to a folder that only its owner can read.

    Raises:
        ConfigurationError: the folder holds an export already, or cannot be written.
        EvidenceUnavailable: no post's evidence could be read.
    """
    tally = Tally()
    part = folder / f"{POSTS_FILE}.part"
    try:
        if (folder / POSTS_FILE).exists():
            raise ConfigurationError(
                f"{folder} holds a {POSTS_FILE} already; name a folder that does not exist yet"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / _IMAGES).mkdir(mode=0o700, exist_ok=True)
        with part.open("w", encoding="utf-8") as lines:
            for line, pictures in _posts(connection, store, since, tally):
                for name, content in pictures.items():
                    (folder / name).write_bytes(content)
                lines.write(line)
        os.replace(part, folder / POSTS_FILE)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {error.filename or folder}: {error.strerror}; name another folder"
        ) from error
    return tally


def zipped(
    connection: Connection, store: EvidenceStore, *, since: datetime | None = None
) -> Iterator[bytes]:
    """Yields the same as one archive, in pieces, so that it need not fit into memory."""
    tally, out = Tally(), _Pieces()
    with (
        tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as lines,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive,  # JPEG does not get smaller
    ):
        for line, pictures in _posts(connection, store, since, tally):
            for name, content in pictures.items():
                archive.writestr(name, content)
            lines.write(line.encode())
            yield out.taken()
        lines.seek(0)
        with archive.open(POSTS_FILE, "w") as entry:
            while block := lines.read(2**16):
                entry.write(block)
                yield out.taken()
        archive.close()
        yield out.taken()


def _posts(
    connection: Connection, store: EvidenceStore, since: datetime | None, tally: Tally
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each post as a line, with those of its pictures that no post before it had."""
    written: set[str] = set()
    for post in labelled(connection, since=since):
        try:
            text, images = "", []
            new: dict[str, bytes] = {}
            for item in post.evidence:
                sha256 = item["sha256"]
                if item["kind"] == "original_text":
                    text = store.get(sha256).decode("utf-8", "replace")
                elif item["kind"] == "image":
                    images.append(f"{_IMAGES}/{sha256}.jpg")
                    if sha256 not in written:
                        new[images[-1]] = store.get(sha256)
                        written.add(sha256)
        except EvidenceUnavailable as error:
            written.difference_update(Path(name).stem for name in new)
            tally.without_evidence += 1
            tally.problem = str(error)
            continue
        tally.posts += 1
        tally.images += len(new)
        row: dict[str, Any] = {"id": post.post_id, "text": text, "images": images}
        for name in _LABELS:
            if getattr(post, name) is not None:
                row[name] = getattr(post, name)
        yield json.dumps(row, ensure_ascii=False) + "\n", new
    if tally.problem is not None and not tally.posts:
        raise EvidenceUnavailable(f"no post could be exported: {tally.problem}")


class _Pieces:
    """A file to write to, for `zipfile`, which notices that it cannot seek."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, content: bytes, /) -> int:
        """Hold what is written."""
        self._held.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        """Give what was written since the last time."""
        found = b"".join(self._held)
        self._held.clear()
        return found
