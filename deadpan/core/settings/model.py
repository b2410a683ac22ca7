"""What judges posts: the model, what it remembers, and the challenger beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from deadpan.core.settings.kinds import Group, OnOff


class Model(Group):
    """The model, its caches and its challenger."""

    model: str = "mini"
    """A preset's name, or the folder of a checkpoint."""
    challenger: str = ""
    """A second model, named like DEADPAN_MODEL, that judges the same posts for comparison; `deadpan
    canary` compares the two. It never flags a post."""
    challenger_share: float = Field(0.1, gt=0.0, le=1.0)
    """Share of posts that the challenger judges too, chosen by post id."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto uses a GPU if there is one."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the model; auto is torch on a GPU, and on a CPU openvino, or whichever is faster at
    the first start where torch is installed too (extra `gpu`). openvino runs on the CPU."""
    torch_compile: OnOff = "off"
    """Whether torch compiles the model, on a GPU only: a slower start for throughput that may be
    higher. Not measured yet."""
    cache_dir: str = ""
    """Folder for files that can be rebuilt, such as converted models; empty means deadpan in the
    user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    ocr: OnOff = "off"
    """Whether text in pictures is read too (extra `ocr`); about 0.1 s a picture."""
    explain: OnOff = "on"
    """Whether a flag shows which words and parts of a picture moved its score. Idle workers find
    that out once the flag is there."""
    feature_cache_bytes: int = Field(64 * 2**20, ge=0)
    """Memory of a worker for features of pictures seen before; 0 turns it off."""
    feature_cache_redis: int = Field(86_400, ge=0, le=30 * 86_400)
    """Seconds that features of pictures stay in Redis, shared by all workers; 0 turns it off."""
    feature_cache_redis_bytes: int = Field(64 * 2**20, ge=2**20)
    """Most bytes that these features may take in Redis, for each model; never more than an eighth
    of its `maxmemory`."""
    remembered_posts: int = Field(10_000, ge=0)
    """Predictions that a worker keeps in memory for posts with the same content: about 1 kB each;
    0 turns it off."""


def cache_folder(settings: Model) -> Path | None:
    """Where files that can be rebuilt are kept; None if the user has no home folder either."""
    if settings.cache_dir:
        return Path(settings.cache_dir).expanduser().absolute()
    # The XDG specification says to ignore relative paths.
    if (base := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return base / "deadpan"
    try:
        return Path.home() / ".cache" / "deadpan"
    except RuntimeError:
        return None
