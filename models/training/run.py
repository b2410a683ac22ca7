"""A training run, step by step: set up, data, model, pictures, fit, measure, write."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors.numpy import save as to_safetensors
from transformers import set_seed

from models.checkpoint import checkpoint
from models.checkpoint.deltas import names_in
from models.checkpoint.loading import Arrays, put_stored, stored_tensors
from models.engines.choose import choose_device
from models.engines.torch_engine import TorchEngine
from models.network.config import ModelConfig, check_questions, expected_tensors
from models.network.described import described
from models.network.encoders import encoder_folder, pinned
from models.network.foreign import ForeignWords
from models.network.network import Network
from models.network.presets import bert_resnet50_config, mini_config, strong_config
from models.posts.text import TextPreparer
from models.training.account import account_of
from models.training.corpus import (
    Corpus,
    Removed,
    Row,
    check_labels,
    read_corpora,
    tell_left_out,
    with_ocr,
    without_leaks,
)
from models.training.dataset import Collator, PostSet
from models.training.features import FeatureCache, image_features, ocr_texts
from models.training.languages import with_languages
from models.training.lora import Adapters
from models.training.recipe import Recipe
from models.training.scores import answers_of, dev_scores
from models.training.settings import Stage
from models.training.stages import rows_of, train_stage
from models.training.targets import (
    UNKNOWN,
    Target,
    labels_by_target,
    own_heads,
    targets_of,
)

Report = Callable[[str], None]


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
    report: Report = lambda line: None,
) -> TrainingResult:
    """Train every stage, measure on the dev files, and write a checkpoint.

    An interrupted run that is started again with the same files and settings goes on where it
    stopped, and ends with the same model.

    Args:
        output: folder of the checkpoint; one that stands there is replaced at the end.
        cache_dir: keeps features, interrupted runs and TensorBoard's logs.
        device: "auto", "cpu" or "cuda".

    Raises:
        DataError: with every problem of every file.
        ModelError: no such device, the loss is not a number, memory is short, or a folder cannot
            be written.
        CheckpointError: an encoder is not there.
    """
    started = time.monotonic()
    checkpoint.check_output(output)
    setup = Setup(
        recipe=recipe,
        config=pinned(configure(recipe)),
        device=choose_device(device),
        cache_dir=cache_dir,
        max_image_pixels=max_image_pixels,
        report=report,
    )
    data = read_data(setup)
    network, tensors, epochs, broken = fitted(setup, data)
    config, of_languages = with_languages(setup.config, data.rows)
    tensors |= of_languages
    setup = dataclasses.replace(setup, config=config)
    pictures = read_pictures(setup, data, network, data.dev_rows)
    scores = measure(setup, data, pictures, network, ForeignWords.load(config, tensors))
    account = account_of(
        recipe, data.train, data.dev, data.removed, scores, device=setup.device, epochs=epochs
    )
    return TrainingResult(
        path=output,
        version=write(setup, data, output, tensors, account),
        scores=scores,
        removed=data.removed,
        warnings=(*data.train.warnings, *data.dev.warnings, *dict.fromkeys(broken)),
        epochs=sum(epochs),
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step of a run needs; see `train`."""

    recipe: Recipe
    config: ModelConfig
    device: str
    cache_dir: Path
    max_image_pixels: int
    report: Report


@dataclass(frozen=True, slots=True)
class Data:
    """The posts of a run.

    Attributes:
        train: all of the training files.
        dev: all of the dev files.
        rows: of `train`, those to learn from.
        dev_rows: of `dev`, with the words in their pictures where these are read.
        removed: what of `train` is not learnt from.
        targets: what there are labels for.
    """

    train: Corpus
    dev: Corpus
    rows: list[Row]
    dev_rows: list[Row]
    removed: Removed
    targets: tuple[Target, ...]

    @property
    def image_paths(self) -> dict[str, Path]:
        """Files of all pictures, by SHA-256."""
        return self.train.image_paths | self.dev.image_paths


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the network gets of pictures.

    Attributes:
        images: features or pixels by SHA-256.
        collate: makes batches with them.
        warnings: a sentence for each that could not be decoded.
    """

    images: FeatureCache
    collate: Collator
    warnings: list[str]


def read_data(setup: Setup, *, needs_dev: bool = True) -> Data:
    """Read every file, and leave out what must not be learnt from."""
    recipe, config, report = setup.recipe, setup.config, setup.report
    prepare = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    report("reading posts")
    train, dev = read_corpora(recipe.train, recipe.dev, prepare, needs_dev=needs_dev)
    rows, removed, left_out = without_leaks(train, dev)
    tell_left_out(left_out, setup.cache_dir / "left-out.txt", report)
    used = [row for stage in recipe.stages for row in rows_of(stage, rows, train.files)]
    targets = targets_of(config, train.files, used)
    known = (labels_by_target(targets, rows, train.files) != UNKNOWN).any(axis=1)
    unasked = len(rows) - int(known.sum())
    rows = [row for row, keep in zip(rows, known, strict=True) if keep]
    removed = dataclasses.replace(removed, unlabelled=removed.unlabelled + unasked)
    check_labels(rows, dev)
    data = Data(train, dev, rows, dev.rows, removed, targets)
    if recipe.settings.ocr_share:
        cache = setup.cache_dir / "ocr.jsonl"
        texts = ocr_texts(data.image_paths, cache, setup.max_image_pixels, report)
        data = dataclasses.replace(
            data,
            rows=with_ocr(rows, texts, prepare),
            dev_rows=with_ocr(dev.rows, texts, prepare),
        )
    report(f"learning from {len(rows)} of {len(train.rows)} posts: {removed}")
    return data


def read_pictures(
    setup: Setup, data: Data, network: Network, rows: Iterable[Row], *, as_pixels: bool = False
) -> Pictures:
    """Compute features of the rows' pictures, or decode them, unless a run before has."""
    config, found = setup.config, data.image_paths
    paths = {key: found[key] for row in rows for key in row.image_keys}
    images, broken = image_features(
        paths,
        None if as_pixels else TorchEngine(network, setup.device),
        config,
        setup.cache_dir / "features",
        setup.max_image_pixels,
        setup.report,
        weights="" if as_pixels else network.image_sha256(),
    )
    if as_pixels:
        collate = Collator((config.image_size, config.image_size, 3), torch.uint8)
    else:
        collate = Collator((1, config.image.dim), torch.float16)
    return Pictures(
        images, collate, [f"{paths[key]}: {why}" for key, why in sorted(broken.items())]
    )


def fitted(setup: Setup, data: Data) -> tuple[Network, Arrays, list[float], list[str]]:
    """A network that learnt from `data`, as it will be used: with the tensors that are stored.

    Returns:
        The network, on the CPU; what its checkpoint stores; the epochs that each stage took; and a
        sentence for each picture that could not be decoded.
    """
    recipe = setup.recipe
    set_seed(recipe.settings.seed)
    network = Network(setup.config)
    untrained = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adapters = Adapters(network, recipe.settings, recipe.stages)
    epochs, broken = fit_stages(setup, data, network)
    adapters.merge()
    tensors = stored_tensors(network.cpu(), untrained)
    put_stored(network, tensors, untrained)
    return network, tensors, epochs, broken


def fit_stages(setup: Setup, data: Data, network: Network) -> tuple[list[float], list[str]]:
    """Train the stages, one after another.

    Returns:
        The epochs that each took, and a sentence for each picture that could not be decoded.
    """
    recipe, settings, files = setup.recipe, setup.recipe.settings, data.train.files
    own = own_heads(data.targets, setup.config.text.dim)
    taught = np.zeros(len(data.targets), dtype=bool)
    epochs, broken, name = [], [], ""
    for number, stage in enumerate(recipe.stages, 1):
        rows = rows_of(stage, data.rows, files)
        as_pixels = stage.train_image_stages > 0
        pictures = read_pictures(setup, data, network, [*rows, *data.dev_rows], as_pixels=as_pixels)
        broken += pictures.warnings
        posts = PostSet(rows, files, data.targets, pictures.images, settings.ocr_share)
        dev = _with_words(setup, data, pictures, posts)
        taught |= posts.known
        name = _chained(name, setup, stage, posts, dev)
        epochs.append(
            train_stage(
                network,
                stage,
                [one for one, so_far in zip(data.targets, taught, strict=True) if so_far],
                own,
                posts,
                dev,
                pictures.collate,
                setup.cache_dir / "runs" / name,
                seed=settings.seed + number,
                device=setup.device,
                tensorboard=setup.cache_dir / "tensorboard" / f"{recipe.name}-{name}",
                report=setup.report,
            )
        )
    return epochs, broken


def measure(
    setup: Setup, data: Data, pictures: Pictures, network: Network, foreign: ForeignWords | None
) -> dict[str, Any]:
    """Scores by dev file; of files with words in pictures, with and without these."""
    setup.report("measuring on the dev files")

    def scores_of(posts: PostSet) -> dict[str, Any]:
        seed = setup.recipe.settings.seed
        answers = answers_of(network, posts, pictures.collate, setup.device, foreign)
        return dev_scores(answers, posts, data.dev, data.train, seed=seed)

    scores = scores_of(PostSet(data.dev.rows, data.dev.files, data.targets, pictures.images))
    if setup.recipe.settings.ocr_share:
        read = {row.file for row in data.dev_rows if row.ocr_token_ids}
        with_words = scores_of(_with_words(setup, data, pictures))
        scores |= {
            f"{file.title}, words in pictures read": with_words[file.title]
            for index, file in enumerate(data.dev.files)
            if index in read
        }
    return scores


def write(setup: Setup, data: Data, output: Path, tensors: Arrays, account: dict[str, Any]) -> str:
    """Write the checkpoint; gives the model's version."""
    trained = tuple(sorted(names_in(tensors) - set(expected_tensors(setup.config))))
    config = dataclasses.replace(setup.config, trained=trained)
    weights = to_safetensors(tensors)
    state = PartialState()
    if state.is_main_process:
        checkpoint.save(output, config, weights, account)
    state.wait_for_everyone()
    return checkpoint.model_version(config, hashlib.sha256(weights).hexdigest())


def configure(recipe: Recipe) -> ModelConfig:
    """The configuration that a recipe asks for; encoders not pinned yet.

    Raises:
        CheckpointError: its questions do not fit together, or an encoder's folder does not say what
            is in it.
    """
    settings = recipe.settings
    if settings.preset == "mini":
        config = mini_config(recipe.name)
    else:
        places = {"text": settings.text, "image": settings.image}
        given = {name: place for name, place in places.items() if place}
        if settings.preset == "strong":
            config = described(strong_config(recipe.name, **given))
        else:
            config = bert_resnet50_config(recipe.name, **given)
    config = dataclasses.replace(
        config,
        fusion=settings.fusion,
        hidden=settings.hidden,
        dropout=settings.dropout,
        questions=tuple(settings.questions),
        of_pictures=tuple(settings.of_pictures),
        sides=settings.sides,
        languages=tuple(settings.languages),
    )
    check_questions(config)
    return config


def _with_words(
    setup: Setup, data: Data, pictures: Pictures, taught: PostSet | None = None
) -> PostSet:
    """The dev posts as they are judged: with the words in their pictures, where these are read.

    Args:
        taught: leaves out posts that have a label for nothing that these teach.
    """
    ocr_share = float(setup.recipe.settings.ocr_share > 0)
    dev = PostSet(data.dev_rows, data.dev.files, data.targets, pictures.images, ocr_share)
    if taught is None:
        return dev
    known = (dev.labels[:, taught.known] != UNKNOWN).any(axis=1)
    rows = [row for row, keep in zip(data.dev_rows, known, strict=True) if keep]
    return PostSet(rows, data.dev.files, data.targets, pictures.images, ocr_share)


def _chained(before: str, setup: Setup, stage: Stage, posts: PostSet, dev: PostSet) -> str:
    """Name of a run up to and with a stage. Another post, setting or device is another run; what
    comes after the stage, and files that no stage has learnt from yet, are none of its business.

    Args:
        before: name of the run up to the stage before; "" for none.
        posts: that the stage learns from.
        dev: that it may choose its epoch by.
    """
    config = dataclasses.replace(setup.config, name="").to_json()
    settings = dataclasses.asdict(setup.recipe.settings)
    chosen_by = "" if stage.average_last else dev.digest()
    given = [before, config, settings, dataclasses.asdict(stage), posts.digest(), chosen_by]
    return hashlib.sha256(json.dumps([*given, setup.device]).encode()).hexdigest()[:16]
