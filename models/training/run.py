"""Train on posts files and write a checkpoint that can account for itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import save as to_safetensors
from transformers import set_seed

from models.checkpoint import checkpoint
from models.engines.choose import choose_device
from models.engines.torch_engine import TorchEngine
from models.network.config import ModelConfig, bert_resnet50_config, expected_tensors, mini_config
from models.network.encoders import encoder_folder, pinned
from models.network.network import Network
from models.posts.text import TextPreparer
from models.training.account import account_of
from models.training.dataset import (
    Collator,
    Corpus,
    PostSet,
    Removed,
    with_ocr,
    without_leaks,
)
from models.training.features import image_features, ocr_texts
from models.training.reading import check_labels, read_corpora, tell_left_out
from models.training.recipe import Recipe
from models.training.scores import dev_scores
from models.training.stages import rows_of, train_stage


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
    train_corpus, dev_corpus = read_corpora(recipe.train, recipe.dev, prepare)
    rows, removed, left_out = without_leaks(train_corpus, dev_corpus)
    tell_left_out(left_out, cache_dir / "left-out.txt", report)
    check_labels(rows, dev_corpus)
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
        train_stage(
            network,
            stage,
            number,
            PostSet(
                rows_of(stage, rows, train_corpus.files),
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
    weights = to_safetensors(tensors)
    version = checkpoint.model_version(config, hashlib.sha256(weights).hexdigest())
    state = PartialState()
    if state.is_main_process:
        account = account_of(
            recipe, train_corpus, dev_corpus, removed, scores, device=device, epochs=epochs
        )
        checkpoint.save(output, config, weights, account)
        shutil.rmtree(run, ignore_errors=True)
    state.wait_for_everyone()
    return TrainingResult(
        path=output,
        version=version,
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


def _fingerprint(
    config: ModelConfig, recipe: Recipe, train: Corpus, dev: Corpus, device: str
) -> str:
    """Names a run: another file, setting or device is another run. 16 hexadecimal digits."""
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
