"""Features of frozen encoders, computed once and kept on disk.

A frozen encoder gives a text or a picture the same features in every epoch and every run, so that
training the head takes minutes. The cache is a folder of shards; an interrupted run loses at most
the shard it was computing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from deadpan.errors import ImageError, ModelError
from models.classifier import Encoders
from models.config import ModelConfig
from models.images import decode_image

SHARD_ITEMS = 2048

Features = npt.NDArray[np.float32]
Report = Callable[[str], None]
Item = TypeVar("Item")


class FeatureCache:
    """Features by key, in shards of a folder.

    Args:
        folder: of all caches; each encoder has its own folder below.
        identity: everything that changes the features; its hash names that folder.
        dim: width of the features.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], dim: int) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.dim = dim
        self._features: dict[str, Features] = {}
        for shard in sorted(self.folder.glob("*.npz")):
            self._read(shard)

    def __contains__(self, key: str) -> bool:
        return key in self._features

    def __getitem__(self, key: str) -> Features:
        return self._features[key]

    def add(self, keys: Sequence[str], features: Features) -> None:
        """Keep features [keys, dim] in memory and on disk.

        Raises:
            ModelError: the folder cannot be written.
        """
        # half precision loses less than bfloat16 arithmetic already has
        small = features.astype(np.float16)
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
            if features.shape != (len(keys), self.dim):
                raise ValueError(f"shape {features.shape}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            # a damaged shard costs computing it again, nothing else
            shard.unlink(missing_ok=True)
            return
        self._keep(keys, features)

    def _keep(self, keys: Sequence[str], features: npt.NDArray[np.float16]) -> None:
        self._features.update(zip(keys, features.astype(np.float32), strict=True))


def text_key(normalised: str) -> str:
    """Name of a normalised text in the cache."""
    return hashlib.sha256(normalised.encode()).hexdigest()[:32]


def text_features(
    texts: Mapping[str, tuple[int, ...]],
    encoders: Encoders,
    config: ModelConfig,
    folder: Path,
    report: Report,
) -> FeatureCache:
    """Features of texts.

    Args:
        texts: token ids by `text_key`.
        encoders: compute what is not in the cache.
        config: of the model.
        folder: of all caches.
        report: gets lines of progress.
    """
    cache = FeatureCache(folder, _identity(config, "text"), config.text.dim)
    todo = [key for key in texts if key not in cache]
    # shards of similar lengths need little padding; the key makes the order reproducible
    todo.sort(key=lambda key: (len(texts[key]), key))
    done = 0
    for keys in _batches(todo, SHARD_ITEMS):
        cache.add(keys, encoders.encode_texts([texts[key] for key in keys]).numpy())
        done += len(keys)
        report(f"features of texts: {done} of {len(todo)}")
    return cache


def image_features(
    images: Mapping[str, Path],
    encoders: Encoders,
    config: ModelConfig,
    folder: Path,
    max_image_pixels: int,
    report: Report,
) -> tuple[FeatureCache, dict[str, str]]:
    """Features of pictures.

    Args:
        images: files by the SHA-256 of their content.
        encoders: compute what is not in the cache.
        config: of the model.
        folder: of all caches.
        max_image_pixels: a picture with more is not decoded.
        report: gets lines of progress.

    Returns:
        The cache, and why, for every picture that could not be decoded.
    """
    cache = FeatureCache(folder, _identity(config, "image"), config.image.dim)
    todo = sorted(key for key in images if key not in cache)
    problems: dict[str, str] = {}
    done = 0

    def decode(key: str) -> npt.NDArray[np.uint8] | str:
        try:
            content = images[key].read_bytes()
            return decode_image(
                content, max_pixels=max_image_pixels, image_size=config.image_size
            ).pixels
        except (ImageError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=2) as pool:
        # 256 pictures of 224 x 224 are 39 MB of pixels
        for keys in _batches(todo, SHARD_ITEMS // 8):
            decoded = dict(zip(keys, pool.map(decode, keys), strict=True))
            problems |= {key: why for key, why in decoded.items() if isinstance(why, str)}
            pixels = {key: one for key, one in decoded.items() if not isinstance(one, str)}
            if pixels:
                features = encoders.encode_images(list(pixels.values()))
                cache.add(list(pixels), features.numpy())
            done += len(keys)
            report(f"features of pictures: {done} of {len(todo)}")
    return cache, problems


def _identity(config: ModelConfig, modality: str) -> dict[str, Any]:
    encoder = config.text if modality == "text" else config.image
    size = config.max_tokens if modality == "text" else config.image_size
    return {
        "modality": modality,
        "encoder": dataclasses.asdict(encoder),
        "size": size,
        "preprocessing_version": config.preprocessing_version,
    }


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
