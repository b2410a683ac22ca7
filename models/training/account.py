"""What a checkpoint tells of its training: data, scores, versions and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from models.training.corpus import Corpus, Removed
from models.training.recipe import Recipe

_PACKAGES = (
    *("deadpan", "torch", "timm", "transformers", "tokenizers", "accelerate", "safetensors"),
    *("pillow", "numpy"),
)


def account_of(
    recipe: Recipe,
    train: Corpus,
    dev: Corpus,
    removed: Removed,
    scores: Mapping[str, Any],
    *,
    device: str,
    epochs: Sequence[float],
) -> dict[str, Any]:
    """What `models.checkpoint.checkpoint.save` writes beside the weights."""
    return {
        "data": {
            "train": train.describe(),
            "dev": dev.describe(),
            "removed_from_train": dataclasses.asdict(removed),
        },
        "scores": scores,
        "versions": package_versions(),
        "training": {
            **dataclasses.asdict(recipe.settings),
            "device": device,
            "stages": [
                {**dataclasses.asdict(stage), "epochs_run": count}
                for stage, count in zip(recipe.stages, epochs, strict=True)
            ],
            "notes": recipe.notes,
        },
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a model computes."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions
