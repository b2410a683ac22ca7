"""Train a head on posts files and write a checkpoint that can account for itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from deadpan.errors import DataError
from models import checkpoint
from models.classifier import Encoders, choose_device
from models.config import ModelConfig, mini_config
from models.encoders import check_encoder
from models.evaluation.judge import READ_OUTS, Answers, measure_answers
from models.fusion import FusionHead
from models.text import TextPreparer
from models.training.dataset import (
    Corpus,
    PostTable,
    Removed,
    Row,
    without_leaks,
)
from models.training.features import image_features, text_features
from models.training.fit import fit
from models.training.settings import DataFile, Settings

_PACKAGES = (
    "deadpan",
    "torch",
    "timm",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "pillow",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of a run.

    Attributes:
        path: the checkpoint folder.
        version: of the model.
        scores: by dev file: "all" posts, and "unseen", those whose text and pictures stand in no
            training file, each as `models.evaluation.judge.measure_answers` gives them.
        removed: what was not learnt from.
        warnings: lines that were skipped and pictures that could not be decoded.
        epochs: until training stopped.
        seconds: of the whole run; less when features were cached.
    """

    path: Path
    version: str
    scores: Mapping[str, Any]
    removed: Removed
    warnings: tuple[str, ...]
    epochs: float
    seconds: float


def train(
    train_files: Sequence[DataFile],
    dev_files: Sequence[DataFile],
    output: Path,
    *,
    cache_dir: Path,
    name: str = "mini",
    settings: Settings | None = None,
    device: str = "auto",
    max_image_pixels: int = 50_000_000,
    notes: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Train, measure on the dev files, and write a checkpoint.

    An interrupted run that is started again with the same files and settings goes on where it
    stopped, and ends with the same model.

    Args:
        train_files: to learn from.
        dev_files: to choose the epoch by, and to report on; never learnt from.
        output: folder of the checkpoint; one that stands there is replaced at the end.
        cache_dir: keeps features and interrupted runs.
        name: of the model.
        settings: of the run; None for the defaults.
        device: "auto", "cpu" or "cuda".
        max_image_pixels: a picture with more is not decoded.
        notes: for the model card, such as how the settings were chosen.
        report: gets lines of progress.

    Raises:
        DataError: with every problem of every file.
        ModelError: no such device, the loss is not a number, or a folder cannot be written.
        CheckpointError: an encoder is not installed.
    """
    started = time.monotonic()
    settings = settings or Settings()
    device = choose_device(device)
    checkpoint.check_output(output)
    config = mini_config(name)
    config = dataclasses.replace(config, hidden=settings.hidden, dropout=settings.dropout)
    prepare = TextPreparer(check_encoder(config.text), max_tokens=config.max_tokens)
    check_encoder(config.image)
    report("reading posts")
    train_corpus, dev_corpus = _read(train_files, dev_files, prepare)
    rows, removed = without_leaks(train_corpus, dev_corpus)
    _check_labels(rows, dev_corpus)
    report(f"learning from {len(rows)} of {len(train_corpus.rows)} posts: {removed}")
    tables, problems = _tables(
        rows,
        train_corpus,
        dev_corpus,
        config,
        cache_dir,
        device,
        max_image_pixels,
        settings,
        report,
    )
    run = cache_dir / "runs" / _fingerprint(config, settings, train_corpus, dev_corpus, device)
    head, epochs = fit(config, *tables, settings, run, device=device, report=report)
    report("measuring on the dev files")
    scores = _scores(head, tables[1], dev_corpus, train_corpus, seed=settings.seed)
    seconds = time.monotonic() - started
    info = checkpoint.save(
        output,
        config,
        to_safetensors({key: value.contiguous() for key, value in head.state_dict().items()}),
        {
            "data": {
                "train": train_corpus.describe(),
                "dev": dev_corpus.describe(),
                "removed_from_train": dataclasses.asdict(removed),
            },
            "scores": scores,
            "versions": package_versions(),
            "training": {
                **dataclasses.asdict(settings),
                "epochs_run": epochs,
                "device": device,
                "notes": notes,
            },
        },
    )
    shutil.rmtree(run, ignore_errors=True)
    return TrainingResult(
        path=output,
        version=info.version,
        scores=scores,
        removed=removed,
        warnings=(*train_corpus.warnings, *dev_corpus.warnings, *problems),
        epochs=epochs,
        seconds=seconds,
    )


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a model computes."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _read(
    train_files: Sequence[DataFile], dev_files: Sequence[DataFile], prepare: TextPreparer
) -> tuple[Corpus, Corpus]:
    problems: list[str] = []
    corpora: list[Corpus] = []
    for kind, files in (("--train", train_files), ("--dev", dev_files)):
        if not files:
            problems.append(f"no {kind} file is given; name at least one posts file (JSONL)")
        titles = [file.title for file in files]
        problems += [
            f"two {kind} files are called {title!r}; give them different names"
            for title in sorted({title for title in titles if titles.count(title) > 1})
        ]
        try:
            corpora.append(Corpus(files, prepare))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return corpora[0], corpora[1]


def _check_labels(rows: Sequence[Row], dev: Corpus) -> None:
    problems = []
    if not rows:
        problems.append("no labelled post is left to learn from; add training files")
    problems += [
        f"{read.path}: no post has a label; a dev file needs `sentiment` or `sarcastic`"
        for read in dev.read
        if all(post.sentiment is None and post.sarcastic is None for post in read.posts)
    ]
    if problems:
        raise DataError(problems)


def _tables(
    rows: Sequence[Row],
    train: Corpus,
    dev: Corpus,
    config: ModelConfig,
    cache_dir: Path,
    device: str,
    max_image_pixels: int,
    settings: Settings,
    report: Callable[[str], None],
) -> tuple[tuple[PostTable, PostTable], list[str]]:
    encoders = Encoders(config, device)
    folder = cache_dir / "features"
    texts = text_features(train.token_ids | dev.token_ids, encoders, config, folder, report)
    paths = train.image_paths | dev.image_paths
    images, broken = image_features(paths, encoders, config, folder, max_image_pixels, report)
    problems = [f"{paths[key]}: {why}" for key, why in sorted(broken.items())]
    return (
        PostTable(rows, config, texts, images, settings.file_balance),
        PostTable(dev.rows, config, texts, images),
    ), problems


def _fingerprint(
    config: ModelConfig, settings: Settings, train: Corpus, dev: Corpus, device: str
) -> str:
    """Names a run: another file, setting or device is another run."""
    files = [[read.sha256 for read in corpus.read] for corpus in (train, dev)]
    text = json.dumps([config.to_json(), dataclasses.asdict(settings), files, device])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _scores(
    head: FusionHead, table: PostTable, dev: Corpus, train: Corpus, *, seed: int
) -> dict[str, Any]:
    """Of every dev file, all posts and those that no training file holds.

    The leaks are out of training in any case (`without_leaks`); both numbers are here because
    published results on these splits are without that care.
    """
    answers = _answers(head, table)
    train_texts = {row.text_key for row in train.rows}
    train_images = {key for row in train.rows for key in row.image_keys}
    unseen = np.array(
        [
            row.text_key not in train_texts and train_images.isdisjoint(row.image_keys)
            for row in dev.rows
        ]
    )
    file = table.file.numpy()
    result: dict[str, Any] = {}
    for index, one in enumerate(dev.files):
        result[one.title] = {}
        for part, chosen in (("all", file == index), ("unseen", (file == index) & unseen)):
            result[one.title][part] = measure_answers(
                {
                    name: Answers(
                        answer.sentiment[chosen], answer.sarcasm[chosen], answer.given[chosen]
                    )
                    for name, answer in answers.items()
                },
                table.sentiment.numpy()[chosen],
                table.sarcasm.numpy()[chosen],
                seed=seed,
            )
    return result


def _answers(head: FusionHead, table: PostTable) -> dict[str, Answers]:
    image = table.images[table.picture]
    every = torch.ones_like(table.has_text)
    masks = {
        "fused": (table.has_text, table.has_image, every),
        "text_alone": (table.has_text, ~every, table.has_text),
        "image_alone": (~every, table.has_image, table.has_image),
    }
    answers = {}
    for name in READ_OUTS:
        has_text, has_image, given = masks[name]
        with torch.inference_mode():
            sentiment, sarcasm = head(table.text, image, has_text, has_image)
        answers[name] = Answers(
            sentiment.double().softmax(dim=-1).numpy(),
            sarcasm.double().softmax(dim=-1).numpy(),
            given.numpy(),
        )
    return answers
