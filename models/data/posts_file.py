"""Labelled posts for training and evaluation. Needs no torch.

A posts file has one object a line: `{"id": str, "text": str, "images"?: [path], "sentiment"?:
"negative" | "neutral" | "positive", "sarcastic"?: bool, "conflict"?: bool}`. Paths are relative to
the file; id, text and images may be whatever a post source takes (`deadpan.core.post_fields`). A
label that is missing is unknown, not false. Other keys are ignored. The other layouts are described
in `docs/data.md`.
"""

from __future__ import annotations

from pathlib import Path

from models.data.layouts import open_dataset
from models.data.records import LabelledPost, PostsFile

__all__ = ["LabelledPost", "PostsFile", "read_posts"]


def read_posts(path: Path, *, split: str | None = None, conflict: bool = False) -> PostsFile:
    """Read a data set and check every line of it: see `models.data.layouts.open_dataset`.

    Raises:
        DataError: with every problem, each naming file and line.
    """
    return open_dataset(path, split=split, conflict=conflict)
