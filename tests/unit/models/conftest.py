"""A toy data set and a model trained on it, made once for all tests of models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.training.recipe import Recipe
from models.training.run import TrainingResult, train
from models.training.settings import DataFile, Settings, Stage

SETTINGS = Settings(seed=1, hidden=32)
STAGE = Stage(epochs=4, batch_size=16, learning_rate=3e-3, train_text_layers=0)

WORDS = {
    "positive": ["love this", "so happy today", "great fun", "wonderful friends"],
    "neutral": ["bus at nine", "the meeting is on monday", "page four", "a table"],
    "negative": ["hate this", "so sad today", "awful pain", "terrible news"],
}


@dataclass(frozen=True)
class Toy:
    """Files of a toy data set, and a cache that all trainings on it share."""

    train: tuple[DataFile, ...]
    dev: tuple[DataFile, ...]
    cache: Path

    def afresh(self, folder: Path) -> Toy:
        """With a cache where no stage is finished; features of pictures are shared."""
        features = self.cache / "features"
        features.mkdir(parents=True, exist_ok=True)
        (folder / "cache").mkdir()
        (folder / "cache" / "features").symlink_to(features)
        return replace(self, cache=folder / "cache")

    def run(
        self,
        output: Path,
        *stages: Stage,
        settings: Settings = SETTINGS,
        report: Callable[[str], None] = lambda line: None,
    ) -> TrainingResult:
        """Train on it."""
        recipe = Recipe("toy", self.train, self.dev, stages or (STAGE,), settings)
        return train(recipe, output, cache_dir=self.cache, device="cpu", report=report)


def write_posts(path: Path, posts: list[dict[str, object]]) -> Path:
    """Write a posts file."""
    path.write_text("\n".join(map(json.dumps, posts)), encoding="utf-8")
    return path


def toy_posts(folder: Path, name: str, count: int) -> Path:
    """Posts whose words tell the sentiment, half of them with a picture that does too."""
    random = np.random.default_rng(count)
    posts: list[dict[str, object]] = []
    for index in range(count):
        label = list(WORDS)[index % 3]
        post: dict[str, object] = {
            "id": f"{name}-{index}",
            "text": f"{random.choice(WORDS[label])} {name} {index}",
            "sentiment": label,
        }
        if index % 2:
            colour = {"positive": 220, "neutral": 120, "negative": 20}[label]
            pixels = random.integers(0, 30, size=(40, 40, 3)) + colour
            image = f"{name}-{index}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / image)
            post["images"] = [image]
        posts.append(post)
    return write_posts(folder / f"{name}.jsonl", posts)


def sarcasm_posts(folder: Path, name: str, numbers: range) -> Path:
    """Posts whose words tell the sarcasm."""
    posts: list[dict[str, object]] = [
        {
            "id": f"{name}-{index}",
            "text": f"{'oh great, just what I needed' if index % 2 else 'see you soon'} {index}",
            "sarcastic": bool(index % 2),
        }
        for index in numbers
    ]
    return write_posts(folder / f"{name}.jsonl", posts)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    return Toy(
        train=(
            DataFile(
                toy_posts(folder, "learn", 60), name="Toy", source="drawn here", licence="none"
            ),
            DataFile(sarcasm_posts(folder, "irony", range(80))),
        ),
        dev=(
            DataFile(toy_posts(folder, "check", 30)),
            DataFile(sarcasm_posts(folder, "doubt", range(60, 100))),
        ),
        cache=folder / "cache",
    )


@pytest.fixture(scope="session")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return toy.run(tmp_path_factory.mktemp("model") / "toy")
