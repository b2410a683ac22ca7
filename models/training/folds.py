"""Cross-validation of a recipe on a file with pictures, by groups of posts that are much alike."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deadpan.core.errors import DataError, ImageError
from models.engines.choose import choose_device
from models.evaluation.judge import Answers, labels_of, measure_answers
from models.network.encoders import pinned
from models.posts.images import decode_image
from models.training.corpus import Row
from models.training.dataset import PostSet
from models.training.recipe import Recipe
from models.training.run import Data, Setup, configure, fitted, read_data, read_pictures
from models.training.scores import answers_of

SAME_PICTURE = 2
"""Bits of 64 in which the hashes of two files of one picture may differ."""

UNREAD, READ = "words in pictures unread", "words in pictures read"

_HASHED_AT_ONCE = 1024


def cross_validate(
    recipe: Recipe,
    of: str,
    also: Sequence[Path] = (),
    *,
    folds: int,
    cache_dir: Path,
    device: str = "auto",
    max_image_pixels: int = 50_000_000,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the recipe once for each fold without the fold's posts, and measure on all of them.

    What a post of any fold shares words or a picture with is left out of all other files, so that a
    stage that learns from others alone is the same for every fold, and is trained once.

    Args:
        of: key of the training file whose posts are measured on.
        also: dev files of the recipe whose posts join in: they are learnt from and measured on, and
            choose nothing.
        folds: at least 2.

    Returns:
        "recipe", "of", "folds", "seed"; "posts" of each fold, and how many "groups" of posts that
        share words or a picture, which stay together; and `UNREAD`, and where the recipe reads the
        words in pictures `READ`, each as `measure_answers` gives it. Intervals are of the bootstrap
        over groups.

    Raises:
        DataError: no such file, or fewer groups than folds; and whatever `train` raises.
    """
    setup = Setup(
        recipe=_with_dev(recipe, of, also),
        config=pinned(configure(recipe)),
        device=choose_device(device),
        cache_dir=cache_dir,
        max_image_pixels=max_image_pixels,
        report=report,
    )
    data = read_data(setup, needs_dev=False)
    pool = [row for row in data.rows if data.train.files[row.file].called == of]
    report("looking for pictures that are alike")
    groups = groups_of(pool, [picture_hashes(row, data, max_image_pixels) for row in pool])
    fold_of = folds_of(pool, groups, folds)
    others = _without(data, of, pool)
    parts = (UNREAD, READ) if recipe.settings.ocr_share else (UNREAD,)
    held_out: dict[str, list[dict[str, Answers]]] = {part: [] for part in parts}
    order: list[int] = []
    for fold in range(folds):
        report(f"fold {fold + 1} of {folds}")
        inside = np.flatnonzero(fold_of == fold)
        order += inside.tolist()
        learnt = others | {id(row) for row, its in zip(pool, fold_of, strict=True) if its != fold}
        rows = [row for row in data.rows if id(row) in learnt]
        learns = dataclasses.replace(data, rows=rows)
        found = _answers(setup, learns, [pool[index] for index in inside], parts)
        for part in parts:
            held_out[part].append(found[part])
    labels = labels_of([pool[index].post for index in order])
    return {
        "recipe": recipe.name,
        "of": of,
        "folds": folds,
        "seed": recipe.settings.seed,
        "posts": np.bincount(fold_of, minlength=folds).tolist(),
        "groups": len(set(groups.tolist())),
        **{
            part: measure_answers(
                _joined(held_out[part]), labels, groups=groups[order], seed=recipe.settings.seed
            )
            for part in parts
        },
    }


def picture_hash(pixels: npt.NDArray[np.uint8]) -> int:
    """Whether each of 8 x 8 fields is brighter than that to its left: 64 bits that a picture keeps
    when it is scaled or compressed again. Source: Krawetz, Kind of Like That, 2013 (dHash).

    Args:
        pixels: uint8 [height, width, 3].
    """
    small = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    grey = np.asarray(small).astype(int)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())


def picture_hashes(row: Row, data: Data, max_image_pixels: int) -> list[int]:
    """Of the pictures of a post that can be decoded."""
    found = []
    for key in row.image_keys:
        try:
            content = data.image_paths[key].read_bytes()
            picture = decode_image(content, max_pixels=max_image_pixels, image_size=64)
        except (ImageError, OSError):
            continue
        found.append(picture_hash(picture.pixels))
    return found


def groups_of(
    rows: Sequence[Row], hashes: Sequence[Sequence[int]], same: int = SAME_PICTURE
) -> npt.NDArray[np.int64]:
    """Which group each post is of: int [posts]. Posts that share their words, a file or a picture
    are of one, and so are those between which others stand that do.

    Args:
        hashes: of each post's pictures.
        same: bits in which the hashes of one picture may differ.
    """
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    def join(first: int, second: int) -> None:
        first, second = sorted((root(first), root(second)))
        parent[second] = first

    known: dict[str, int] = {}
    for index, row in enumerate(rows):
        for key in filter(None, (f"words {row.text_key}" * bool(row.text_key), *row.image_keys)):
            join(index, known.setdefault(key, index))
    owner = np.array([index for index, one in enumerate(hashes) for _ in one], dtype=np.int64)
    every = np.array([each for one in hashes for each in one], dtype=np.uint64)
    for start in range(0, len(every), _HASHED_AT_ONCE):
        part = every[start : start + _HASHED_AT_ONCE]
        near = np.bitwise_count(part[:, None] ^ every[None]) <= same
        for first, second in np.argwhere(near):
            join(int(owner[start + first]), int(owner[second]))
    return np.array([root(index) for index in range(len(rows))], dtype=np.int64)


def folds_of(
    rows: Sequence[Row], groups: npt.NDArray[np.int64], folds: int
) -> npt.NDArray[np.int64]:
    """Which fold each post is of: int [posts], by a hash of its group's words and pictures.

    Raises:
        DataError: a fold has no post.
    """
    names: dict[int, str] = {}
    for row, group in zip(rows, groups.tolist(), strict=True):
        text = "\n".join((row.text_key, *row.image_keys))
        name = hashlib.sha256(text.encode()).hexdigest()
        # whatever order the posts come in
        names[group] = min(names.get(group, name), name)
    found = np.array([int(names[group][:16], 16) % folds for group in groups.tolist()], dtype=int)
    empty = folds - len(set(found.tolist()))
    if empty:
        raise DataError(
            f"{len(rows)} posts in {len(names)} groups that share words or a picture leave {empty} "
            f"of {folds} folds empty; choose fewer --folds or name more posts"
        )
    return found.astype(np.int64)


def _with_dev(recipe: Recipe, of: str, also: Sequence[Path]) -> Recipe:
    """The recipe, with dev files among the training files called `of`, of which none is held
    out."""
    known = {file.called: file for file in recipe.train}
    paths = {file.path: file for file in recipe.dev}
    problems = []
    if of not in known:
        problems.append(f"{of!r} is no file of the recipe; use one of: {', '.join(known)}")
    problems += [
        f"{path} is no dev file of the recipe; use one of: {', '.join(map(str, paths))}"
        for path in also
        if path not in paths
    ]
    if problems:
        raise DataError(problems)
    like = known[of]
    joined = [
        dataclasses.replace(
            paths[path],
            key=of,
            class_balance=like.class_balance,
            labelling=like.labelling,
            auxiliary=like.auxiliary,
        )
        for path in also
    ]
    train = [
        dataclasses.replace(file, hold_out=0) if file.called == of else file
        for file in recipe.train
    ]
    dev = tuple(file for file in recipe.dev if file.path not in also)
    return dataclasses.replace(recipe, train=(*train, *joined), dev=dev)


def _without(data: Data, of: str, pool: Sequence[Row]) -> set[int]:
    """Rows, by identity, of other files that hold neither words nor a picture of `pool`."""
    texts = {row.text_key for row in pool if row.text_key}
    pictures = {key for row in pool for key in row.image_keys}
    return {
        id(row)
        for row in data.rows
        if data.train.files[row.file].called != of
        and row.text_key not in texts
        and pictures.isdisjoint(row.image_keys)
    }


def _answers(
    setup: Setup, data: Data, held_out: Sequence[Row], parts: Sequence[str]
) -> dict[str, dict[str, Answers]]:
    """What a network that learns from `data` says of posts, by part: `UNREAD`, `READ`."""
    network, *_ = fitted(setup, data)
    pictures = read_pictures(setup, data, network, held_out)
    found = {}
    for part in parts:
        share = float(part == READ)
        posts = PostSet(held_out, data.train.files, data.targets, pictures.images, share)
        found[part] = answers_of(network, posts, pictures.collate, setup.device)
    return found


def _joined(parts: Sequence[Mapping[str, Answers]]) -> dict[str, Answers]:
    """Answers of all folds, one after another."""
    return {
        read_out: Answers(
            {
                head: np.concatenate([part[read_out].of[head] for part in parts])
                for head in parts[0][read_out].of
            },
            np.concatenate([part[read_out].given for part in parts]),
        )
        for read_out in parts[0]
    }
