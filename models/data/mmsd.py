"""MMSD2.0 as downloaded. Needs no torch.

`text_json_final/{train,valid,test}.json`, each a list of `{"text", "label", "image_id"}`, beside
`dataset_image/`, which holds `IMAGE_ID.jpg`. Label 1 is sarcastic.

Source: Qin et al.: MMSD2.0: Towards a Reliable Multi-modal Sarcasm Detection System, ACL Findings
2023.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deadpan.core.errors import DataError
from models.data.records import Collector, LabelledPost, Place, PostsFile, decode_text

TEXT_FOLDER = "text_json_final"
IMAGE_FOLDER = "dataset_image"
SPLITS = ("train", "valid", "test")

_ID = re.compile(r"[\w-]{1,100}")
_BETWEEN = re.compile(r"[\s,]*")


def read_mmsd(folder: Path, *, split: str | None = None) -> PostsFile:
    """Read MMSD2.0.

    Without `dataset_image/`, which is a download of its own, its texts are read alone, and a
    warning says so.

    Args:
        folder: holds `text_json_final/` and, beside it, `dataset_image/`.
        split: "train", "valid" or "test"; None for all that are there.

    Raises:
        DataError: with every problem, each naming file, line and item.
    """
    texts, images = folder / TEXT_FOLDER, folder / IMAGE_FOLDER
    found = [name for name in SPLITS if (texts / f"{name}.json").is_file()]
    if split is not None and split not in found:
        raise DataError(f"{texts}: has no split {split!r}; it has {', '.join(found) or 'none'}")
    collector = Collector(folder)
    with_images = images.is_dir()
    if not with_images:
        collector.warnings.append(
            f"{images}: does not exist; the posts are read without their pictures"
        )
    for name in found if split is None else [split]:
        path = texts / f"{name}.json"
        for place, item in _items(path, decode_text(collector.read_bytes(path)), collector):
            _add(place, item, images if with_images else None, collector)
    return collector.finish()


def _items(path: Path, content: str, collector: Collector) -> Iterator[tuple[Place, Any]]:
    """Elements of a JSON list, with the line that each begins in."""
    decoder = json.JSONDecoder(strict=False)
    position = len(content) - len(content.lstrip())
    if not content.startswith("[", position):
        collector.problem(Place(path, 1), "is not a JSON list")
        return
    line, counted, number = 1, 0, 0
    position += 1
    while True:
        position = _skip(content, position)
        line, counted = line + content.count("\n", counted, position), position
        if content.startswith("]", position):
            return
        number += 1
        place = Place(path, line, f"item {number}")
        try:
            item, position = decoder.raw_decode(content, position)
        except (ValueError, RecursionError) as error:
            collector.problem(place, f"is not JSON: {error}; the file may be cut short")
            return
        yield place, item


def _skip(content: str, position: int) -> int:
    found = _BETWEEN.match(content, position)
    return found.end() if found else position


def _add(place: Place, item: Any, images: Path | None, collector: Collector) -> None:
    if not isinstance(item, dict):
        collector.problem(place, f"is {type(item).__name__}, not a JSON object")
        return
    found = []
    text, label, image_id = item.get("text"), item.get("label"), str(item.get("image_id"))
    if not isinstance(text, str):
        found.append(f"text is {text!r:.60}; it must be a string")
    if str(label) not in ("0", "1"):
        found.append(f"label is {label!r:.60}; it must be 0 or 1")
    if "image_id" not in item or not _ID.fullmatch(image_id):
        found.append(f"image_id is {item.get('image_id')!r:.60}; it must name a picture")
    elif images is not None and not (images / f"{image_id}.jpg").is_file():
        found.append(f"{images / f'{image_id}.jpg'} does not exist; unpack the whole archive")
    for problem in found:
        collector.problem(place, problem)
    if found or not isinstance(text, str):
        return
    paths = () if images is None else ((images / f"{image_id}.jpg").resolve(),)
    collector.add(
        place, LabelledPost(id=image_id, text=text, images=paths, sarcastic=str(label) == "1")
    )
