"""Train on posts files and write a checkpoint that can account for itself."""

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

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from safetensors.torch import save_file
from transformers import set_seed

from deadpan.errors import DataError, ModelError
from models import checkpoint
from models.config import ModelConfig, bert_resnet50_config, expected_tensors, mini_config
from models.encoders import encoder_folder, pinned
from models.engines.choose import choose_device
from models.engines.torch_engine import TorchEngine
from models.network import Network
from models.text import TextPreparer
from models.training.dataset import (
    Collator,
    Corpus,
    PostSet,
    Removed,
    Row,
    with_ocr,
    without_leaks,
)
from models.training.features import image_features, ocr_texts
from models.training.fit import fit
from models.training.module import TrainingModule
from models.training.recipe import Recipe
from models.training.scores import dev_scores
from models.training.settings import DataFile, Stage

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

_LEFT_OUT_SHOWN = 10


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
        epochs: of all stages.
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
    recipe: Recipe,
    output: Path,
    *,
    cache_dir: Path,
    device: str = "auto",
    max_image_pixels: int = 50_000_000,
    report: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Train every stage, measure on the dev files, and write a checkpoint.

    An interrupted run that is started again with the same files and settings goes on where it
    stopped, and ends with the same model.

    Args:
        recipe: data, stages and settings; `models.training.recipe.load_recipe` reads one.
        output: folder of the checkpoint; one that stands there is replaced at the end.
        cache_dir: keeps features, interrupted runs and TensorBoard's logs.
        device: "auto", "cpu" or "cuda".
        max_image_pixels: a picture with more is not decoded.
        report: gets lines of progress.

    Raises:
        DataError: with every problem of every file.
        ModelError: no such device, the loss is not a number, memory is short, or a folder cannot
            be written.
        CheckpointError: an encoder is not there.
    """
    started = time.monotonic()
    settings = recipe.settings
    device = choose_device(device)
    checkpoint.check_output(output)
    config = pinned(configure(recipe))
    prepare = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    report("reading posts")
    train_corpus, dev_corpus = _read(recipe.train, recipe.dev, prepare)
    rows, removed, left_out = without_leaks(train_corpus, dev_corpus)
    _tell(left_out, cache_dir / "left-out.txt", report)
    _check_labels(rows, dev_corpus)
    dev_rows = dev_corpus.rows
    if settings.ocr_share:
        paths = train_corpus.image_paths | dev_corpus.image_paths
        texts = ocr_texts(paths, cache_dir / "ocr.jsonl", max_image_pixels, report)
        rows, dev_rows = (with_ocr(part, texts, prepare) for part in (rows, dev_rows))
    report(f"learning from {len(rows)} of {len(train_corpus.rows)} posts: {removed}")
    set_seed(settings.seed)
    network = Network(config)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pixels = any(stage.train_image_stages for stage in recipe.stages)
    paths = train_corpus.image_paths | dev_corpus.image_paths
    images, broken = image_features(
        paths,
        None if pixels else TorchEngine(network, device),
        config,
        cache_dir / "features",
        max_image_pixels,
        report,
    )
    dev = PostSet(dev_rows, dev_corpus.files, images, ocr_share=float(settings.ocr_share > 0))
    regions = 49 if network.needs_regions else 1
    collate = (
        Collator((config.image_size, config.image_size, 3), torch.uint8)
        if pixels
        else Collator((regions, config.image.dim), torch.float16)
    )
    run = cache_dir / "runs" / _fingerprint(config, recipe, train_corpus, dev_corpus, device)
    epochs = [
        _stage(
            network,
            stage,
            number,
            PostSet(
                _chosen(rows, stage, train_corpus.files),
                train_corpus.files,
                images,
                settings.ocr_share,
            ),
            dev,
            collate,
            run,
            seed=settings.seed,
            device=device,
            tensorboard=cache_dir / "tensorboard" / f"{recipe.name}-{run.name}" / stage.name,
            report=report,
        )
        for number, stage in enumerate(recipe.stages, 1)
    ]
    tensors = network.cpu().trained_tensors(base)
    # measured as it will be used, in half precision
    network.load_trained(tensors)
    expected = expected_tensors(config)
    config = dataclasses.replace(
        config, trained=tuple(sorted(name for name in tensors if name not in expected))
    )
    report("measuring on the dev files")
    plain = PostSet(dev_corpus.rows, dev_corpus.files, images)
    scores = dev_scores(
        network, plain, collate, dev_corpus, train_corpus, device, seed=settings.seed
    )
    if settings.ocr_share:
        read = {row.file for row in dev_rows if row.ocr_token_ids}
        with_words = dev_scores(
            network, dev, collate, dev_corpus, train_corpus, device, seed=settings.seed
        )
        scores |= {
            f"{file.title}, words in pictures read": with_words[file.title]
            for index, file in enumerate(dev_corpus.files)
            if index in read
        }
    seconds = time.monotonic() - started
    result = TrainingResult(
        path=output,
        version="",
        scores=scores,
        removed=removed,
        warnings=(
            *train_corpus.warnings,
            *dev_corpus.warnings,
            *(f"{paths[key]}: {why}" for key, why in sorted(broken.items())),
        ),
        epochs=sum(epochs),
        seconds=seconds,
    )
    weights = to_safetensors(tensors)
    version = checkpoint.model_version(config, hashlib.sha256(weights).hexdigest())
    state = PartialState()
    if state.is_main_process:
        checkpoint.save(
            output,
            config,
            weights,
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
                    "device": device,
                    "stages": [
                        {**dataclasses.asdict(stage), "epochs_run": count}
                        for stage, count in zip(recipe.stages, epochs, strict=True)
                    ],
                    "notes": recipe.notes,
                },
            },
        )
        shutil.rmtree(run, ignore_errors=True)
    state.wait_for_everyone()
    return dataclasses.replace(result, version=version)


def configure(recipe: Recipe) -> ModelConfig:
    """The configuration that a recipe asks for; encoders not pinned yet."""
    settings = recipe.settings
    if settings.preset == "mini":
        config = mini_config(recipe.name)
    else:
        places = {"text": settings.text, "image": settings.image}
        given = {name: place for name, place in places.items() if place}
        config = bert_resnet50_config(recipe.name, **given)
    return dataclasses.replace(
        config, fusion=settings.fusion, hidden=settings.hidden, dropout=settings.dropout
    )


def _stage(
    network: Network,
    stage: Stage,
    number: int,
    posts: PostSet,
    dev: PostSet,
    collate: Collator,
    run: Path,
    *,
    seed: int,
    device: str,
    tensorboard: Path,
    report: Callable[[str], None],
) -> float:
    """Train a stage, or take what it ended with when it was through already."""
    done = run / f"stage-{number}.safetensors"
    names = [name for name, _ in network.named_parameters()]
    if done.exists():
        report(f"stage {stage.name}: through already")
        with safe_open(done, framework="pt") as file:
            epochs = float(file.metadata()["epochs"])
            state = {name: file.get_tensor(name) for name in names}
        network.load_state_dict(state, strict=False)
        return epochs
    if not len(posts):
        raise DataError(f"stage {stage.name!r} has no labelled post to learn from")
    epochs = fit(
        TrainingModule(network, stage),
        posts,
        dev,
        collate,
        run / f"stage-{number}",
        seed=seed + number,
        device=device,
        tensorboard=tensorboard,
        report=report,
    )
    network.cpu()
    if PartialState().is_main_process:
        temporary = done.with_suffix(".new")
        try:
            own = {name: tensor.contiguous() for name, tensor in network.named_parameters()}
            save_file(own, temporary, metadata={"epochs": str(epochs)})
            temporary.replace(done)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"cannot write {done}: {error}; make room or choose another --cache, then start "
                "again: training goes on from its last whole epoch"
            ) from error
        # optimizer states are twice the model's size
        shutil.rmtree(run / f"stage-{number}", ignore_errors=True)
    PartialState().wait_for_everyone()
    return epochs


def _chosen(rows: Sequence[Row], stage: Stage, files: Sequence[DataFile]) -> list[Row]:
    """Rows of the stage's files, as often as it says."""
    chosen = []
    for row in rows:
        times = stage.train.get(files[row.file].called, 0.0) if stage.train else 1.0
        number = int.from_bytes(hashlib.sha256(f"share {row.post.id}".encode()).digest()[:8])
        chosen += [row] * (int(times) + (number < (times % 1.0) * 2**64))
    return chosen


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
    held = [dataclasses.replace(file, held=True) for file in train_files if file.hold_out]
    dev_files = [*dev_files, *held]
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


def _tell(left_out: Sequence[str], path: Path, report: Callable[[str], None]) -> None:
    """List the posts that are not learnt from: a few here, all of them in a file."""
    if not left_out:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(left_out) + "\n")
    except OSError as error:
        raise ModelError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --cache"
        ) from error
    for line in left_out[:_LEFT_OUT_SHOWN]:
        report(line)
    if len(left_out) > _LEFT_OUT_SHOWN:
        report(f"and {len(left_out) - _LEFT_OUT_SHOWN} more, all listed in {path}")


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


def _fingerprint(
    config: ModelConfig, recipe: Recipe, train: Corpus, dev: Corpus, device: str
) -> str:
    """Names a run: another file, setting or device is another run."""
    files = [
        [
            (read.sha256, file.hold_out, file.class_balance)
            for read, file in zip(corpus.read, corpus.files, strict=True)
        ]
        for corpus in (train, dev)
    ]
    stages = [dataclasses.asdict(stage) for stage in recipe.stages]
    text = json.dumps(
        [config.to_json(), dataclasses.asdict(recipe.settings), stages, files, device]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
