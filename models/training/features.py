"""What the image encoder needs in every epoch, computed once and kept on disk.

A frozen image encoder gives a picture the same features in every epoch and every run, so they are
kept; where its last stages are trained, decoded pixels are. The cache is a folder of shards; an
interrupted run loses at most the shard it was computing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deadpan.core.errors import ImageError, ModelError
from models.engines.base import Engine
from models.network.config import ModelConfig
from models.posts.images import decode_image
from models.posts.ocr import OCR_VERSION, Reader

SHARD_ITEMS = 256
"""Pictures; 256 of 224 x 224 are 39 MB of pixels."""

Features = npt.NDArray[Any]
Report = Callable[[str], None]


class FeatureCache:
    """Features by key, in shards of a folder.

    Args:
        folder: of all caches; each encoder has its own folder below.
        identity: everything that changes the features; its hash names that folder.
        dtype: "float16" for features: half precision loses less than bfloat16 arithmetic already
            has; "uint8" for pixels.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], dtype: str) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.dtype = np.dtype(dtype)
        self._features: dict[str, Features] = {}
        for shard in sorted(self.folder.glob("*.npz")):
            self._read(shard)

    def __contains__(self, key: str) -> bool:
        return key in self._features

    def __getitem__(self, key: str) -> Features:
        return self._features[key]

    def add(self, keys: Sequence[str], features: Features) -> None:
        """Keep features [keys, ...] in memory and on disk.

        Raises:
            ModelError: the folder cannot be written.
        """
        small = features.astype(self.dtype)
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(file, keys=np.array(keys), features=small)
            temporary.replace(self.folder / f"{name}.npz")
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise ModelError(
                f"cannot write features to {self.folder}: {error.strerror or error}; "
                "make room or choose another --cache, then start again: what is there is reused"
            ) from error
        self._keep(keys, small)

    def _read(self, shard: Path) -> None:
        try:
            # opened here, because numpy leaves its own file open when the archive is damaged
            with shard.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                keys, features = arrays["keys"].tolist(), arrays["features"]
            if len(features) != len(keys) or features.dtype != self.dtype:
                raise ValueError(f"{features.dtype} {features.shape}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            # a damaged shard costs computing it again, nothing else
            shard.unlink(missing_ok=True)
            return
        self._keep(keys, features)

    def _keep(self, keys: Sequence[str], features: Features) -> None:
        self._features.update(zip(keys, features, strict=True))


def image_features(
    images: Mapping[str, Path],
    encoders: Engine | None,
    config: ModelConfig,
    folder: Path,
    max_image_pixels: int,
    report: Report,
    *,
    weights: str = "",
) -> tuple[FeatureCache, dict[str, str]]:
    """Features or pixels of pictures.

    Args:
        images: files by the SHA-256 of their content.
        encoders: compute features that are not in the cache; None for pixels.
        weights: SHA-256 of the image encoder's weights as they are now.

    Returns:
        The cache, of [regions, dim] or of [height, width, 3] each, and why, for every picture that
        could not be decoded.
    """
    identity: dict[str, Any] = {
        "size": config.image_size,
        "preprocessing_version": config.preprocessing_version,
    }
    if encoders is not None:
        identity["encoder"] = dataclasses.asdict(config.image)
        identity["regions"] = encoders.needs_regions
        identity["weights"] = weights
    cache = FeatureCache(folder, identity, "uint8" if encoders is None else "float16")
    todo = sorted(key for key in images if key not in cache)
    problems: dict[str, str] = {}

    def decode(key: str) -> npt.NDArray[np.uint8] | str:
        try:
            content = images[key].read_bytes()
            return decode_image(
                content, max_pixels=max_image_pixels, image_size=config.image_size
            ).pixels
        except (ImageError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(todo), SHARD_ITEMS):
            keys = todo[start : start + SHARD_ITEMS]
            decoded = dict(zip(keys, pool.map(decode, keys), strict=True))
            problems |= {key: why for key, why in decoded.items() if isinstance(why, str)}
            pixels = {key: one for key, one in decoded.items() if not isinstance(one, str)}
            if pixels:
                values = list(pixels.values())
                found: Features = (
                    np.stack(values) if encoders is None else encoders.encode_images(values)
                )
                cache.add(list(pixels), found)
            report(f"features of pictures: {start + len(keys)} of {len(todo)}")
    return cache, problems


def ocr_texts(
    images: Mapping[str, Path], cache: Path, max_image_pixels: int, report: Report
) -> dict[str, str]:
    """Words in pictures, read once and kept.

    Args:
        images: files by the SHA-256 of their content.
        cache: a JSONL file; a line for every picture that was read.

    Returns:
        What stands in each picture; "" where nothing does.

    Raises:
        ModelError: the extra `ocr` is not installed, or the cache cannot be written.
    """
    texts: dict[str, str] = {}
    for line in cache.read_bytes().splitlines() if cache.exists() else ():
        # a line that a kill cut short is read again
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            if record["version"] == OCR_VERSION:
                texts[record["sha256"]] = str(record["text"])
    todo = sorted(key for key in images if key not in texts)
    if not todo:
        return texts
    reader = Reader()
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with cache.open("a", encoding="utf-8") as file:
            for done, key in enumerate(todo, 1):
                try:
                    picture = decode_image(
                        images[key].read_bytes(), max_pixels=max_image_pixels, image_size=32
                    )
                    texts[key] = reader.read(picture.thumbnail, sha256=key)
                except (ImageError, OSError):
                    texts[key] = ""
                record = {"version": OCR_VERSION, "sha256": key, "text": texts[key]}
                file.write("\n" * (done == 1) + json.dumps(record) + "\n")
                if done % 100 == 0 or done == len(todo):
                    report(f"words in pictures: {done} of {len(todo)}")
    except OSError as error:
        raise ModelError(
            f"cannot write words in pictures to {cache}: {error.strerror or error}; "
            "make room or choose another --cache, then start again: what is there is reused"
        ) from error
    return texts
