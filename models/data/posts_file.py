"""Labelled posts for training and evaluation, in whichever layout they come. Needs no torch.

A posts file has one object a line: `{"id": str, "text": str, "images"?: [path], "sentiment"?:
"negative" | "neutral" | "positive", "sarcastic"?: bool, "conflict"?: bool}`. Paths are relative to
the file; id, text and images may be whatever a post source takes (`deadpan.core.post_fields`). A
label that is missing is unknown, not false. Other keys are ignored. The other layouts are described
in `docs/data.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deadpan.core.errors import DataError
from models.data.mmsd import SPLITS, TEXT_FOLDER, read_mmsd
from models.data.mvsa import LABEL_FILE, read_mvsa
from models.data.records import LabelledPost, PostsFile
from models.data.tables import read_csv, read_jsonl, read_parquet

__all__ = ["LabelledPost", "PostsFile", "read_posts"]

KNOWN = (
    "known are posts files (.jsonl, .csv, .tsv, .parquet), "
    f"a folder of MVSA-Single or MVSA-Multiple (with {LABEL_FILE} and data/), "
    f"and a folder of MMSD2.0 (with {TEXT_FOLDER}/ and dataset_image/)"
)

_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}


def read_posts(path: Path, *, split: str | None = None, conflict: bool = False) -> PostsFile:
    """Read a data set, and check every line of it.

    Args:
        path: a posts file; a folder of a public data set, as downloaded; or its
            `labelResultAll.txt` or one of its `text_json_final/*.json`.
        split: of a data set that comes in several; None for all of it.
        conflict: of MVSA, also give the pairs whose text and image have opposite labels. Posts
            files give what they hold.

    Raises:
        DataError: not one of the known layouts, or with every problem, each naming file and line.
    """
    if path.name == LABEL_FILE:
        path = path.parent
    elif path.parent.name == TEXT_FOLDER and path.suffix == ".json" and split is None:
        path, split = path.parent.parent, path.stem
    elif path.name == TEXT_FOLDER:
        path = path.parent
    if (path / TEXT_FOLDER).is_dir():
        return read_mmsd(path, split=split)
    if split is not None:
        raise DataError(
            f"{path}: has no splits, and split is {split!r}; only MMSD2.0 has ({', '.join(SPLITS)})"
        )
    if (path / LABEL_FILE).is_file():
        return read_mvsa(path, conflict=conflict)
    if path.is_dir():
        raise DataError(f"{path}: is not a known data set; {KNOWN}")
    return _reader(path)(path)


def _reader(path: Path) -> Callable[[Path], PostsFile]:
    """By the ending; where that says nothing, by the first bytes.

    Raises:
        DataError: neither says what it is.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is not None or not path.is_file():
        return reader or read_jsonl  # which says that there is no such file
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; make it readable") from error
    if start.startswith(b"PAR1"):
        return read_parquet
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return read_jsonl
    raise DataError(f"{path}: ends in {path.suffix!r}, which is not known; {KNOWN}")
