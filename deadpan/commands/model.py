"""Commands that use and make a model: classify, train, cross-validate."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from deadpan.commands.measure import ModelName, load_classifier, print_f1, print_scores, tell
from deadpan.commands.output import AsJson, print_json, print_table, warn
from deadpan.core.errors import ConfigurationError
from deadpan.core.people_files import UnreadableFileError, read_bytes
from deadpan.core.settings import load

RecipeName = Annotated[str, typer.Option(help="A recipe that ships with Deadpan, or a TOML file.")]
Cache = Annotated[
    Path,
    typer.Option(
        help="Folder for features of frozen encoders, interrupted runs and finished stages."
    ),
]
Seed = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
Epochs = Annotated[int | None, typer.Option(help="Overrides the recipe's maximum of every stage.")]


def classify(
    text: Annotated[str, typer.Option(help="The post's text.")] = "",
    image: Annotated[list[Path] | None, typer.Option(help="A picture; may be repeated.")] = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Judge one post, without any services."""
    images = image or []
    if not text.strip() and not images:
        raise ConfigurationError("there is nothing to judge; give --text, --image or both")
    contents = [_read(path) for path in images]

    from models.posts.prediction import OF_WORDS, ImageProblem

    classifier = load_classifier(model)
    prepared = classifier.prepare(text, contents)
    problems = [
        f"--image {path}: {result.problem}"
        for path, result in zip(images, prepared.images, strict=True)
        if isinstance(result, ImageProblem)
    ]
    if problems:
        # A worker would carry on without the picture; whoever named it here wants to know.
        raise ConfigurationError(problems)
    (prediction,) = classifier.predict([prepared])
    told = {
        **_scores(prediction.fused),
        **{name: getattr(prediction.fused, name) for name in OF_WORDS},
        "label": prediction.fused.sentiment.label,
        "text_alone": prediction.text_alone and _scores(prediction.text_alone),
        "image_alone": prediction.image_alone and _scores(prediction.image_alone),
        "unread": [each.as_row() for each in prepared.unread],
        "language": prepared.language,
        "unlearnt": not classifier.has_learnt(prepared.language),
        "model": classifier.info.version,
    }
    if as_json:
        print_json(told)
        return
    rows = []
    for name in ("words and pictures", "text alone", "image alone"):
        scores = told if name == "words and pictures" else told[name.replace(" ", "_")]
        if scores:
            shown = {k: f"{p:.2f}" for k, p in scores["sentiment"].items()}
            rows.append({"read-out": name, **shown, "sarcasm": f"{scores['sarcasm']:.2f}"})
    print_table(rows, ["read-out", "negative", "neutral", "positive", "sarcasm"])
    for name in OF_WORDS:
        if told[name] is not None:
            typer.echo(f"{name} words: {told[name]:.2f}")
    for each in prepared.unread:
        place = "" if each.index is None else f" {each.index + 1}"
        typer.echo(f"not read: {each.what}{place}: {each.problem}")
    if told["unlearnt"]:
        typer.echo(f"not learnt: the language of the words, {prepared.language}")
    typer.echo(f"model {told['model']}")


def train(
    data: Annotated[Path | None, typer.Option(help="The folder with the recipe's files.")] = None,
    recipe: RecipeName = "mini",
    train_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--train", help="Posts (JSONL) to train on, instead of a recipe; may be repeated."
        ),
    ] = None,
    dev_file: Annotated[
        list[Path] | None,
        typer.Option("--dev", help="Posts (JSONL) to evaluate on; may be repeated."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint.")] = Path("checkpoint"),
    cache: Cache = Path(".deadpan/training"),
    seed: Seed = None,
    epochs: Epochs = None,
    as_json: AsJson = False,
) -> None:
    """Train a model and write a checkpoint that records its data and scores."""
    if bool(data) == bool(train_file):
        raise ConfigurationError("give --data FOLDER for a recipe, or --train and --dev files")
    if bool(train_file) != bool(dev_file):
        raise ConfigurationError("--train and --dev go together")

    _require_training()

    from dataclasses import asdict

    from models.training.recipe import Recipe, load_recipe
    from models.training.run import train as run
    from models.training.settings import DataFile

    if data:
        plan = load_recipe(recipe, data)
    else:
        plan = Recipe(
            name=output.name,
            train=tuple(DataFile(path) for path in train_file or ()),
            dev=tuple(DataFile(path) for path in dev_file or ()),
        )
    settings = load()
    result = run(
        plan.changed(seed=seed, epochs=epochs),
        output,
        cache_dir=cache,
        device=settings.device,
        max_image_pixels=settings.max_image_pixels,
        report=tell,
    )
    for warning in result.warnings:
        warn(warning)
    if as_json:
        print_json({**asdict(result), "path": str(result.path)})
        return
    for name, parts in result.scores.items():
        typer.echo(f"\n{name}")
        print_scores(parts["all"])
    typer.echo(f"\nmodel {result.version} in {result.path}, {result.seconds:.0f} seconds")


def cross_validate(
    data: Annotated[Path, typer.Option(help="The folder with the recipe's files.")],
    of: Annotated[
        str, typer.Option(metavar="KEY", help="The recipe's training file to measure on.")
    ],
    recipe: RecipeName = "mini",
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="FILE",
            help="A dev file of the recipe whose posts join in; may be repeated.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="How often the recipe is trained.")] = 5,
    cache: Cache = Path(".deadpan/training"),
    seed: Seed = None,
    epochs: Epochs = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe once for each part of a file, and measure on the part left out."""
    _require_training()

    from models.training.folds import READ, UNREAD
    from models.training.folds import cross_validate as run
    from models.training.recipe import load_recipe

    settings = load()
    found = run(
        load_recipe(recipe, data).changed(seed=seed, epochs=epochs),
        of,
        [data / name for name in also or ()],
        folds=folds,
        cache_dir=cache,
        device=settings.device,
        max_image_pixels=settings.max_image_pixels,
        report=tell,
    )
    if as_json:
        print_json(found)
        return
    for part in (UNREAD, READ):
        if part in found:
            typer.echo(f"\n{part}")
            print_scores(found[part])
            print_f1(found[part])
    typer.echo(f"\n{sum(found['posts'])} posts in {found['groups']} groups, {folds} folds")


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, max_bytes=load().max_image_bytes, pipes=True)
    except UnreadableFileError as error:
        raise ConfigurationError(f"--image {path} {error}") from None


def _scores(scores: Any) -> dict[str, Any]:
    return {"sentiment": scores.sentiment._asdict(), "sarcasm": scores.sarcasm}


def _require_training() -> None:
    missing = [name for name in ("torch", "accelerate") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed, and training "
            "needs it; pip install 'deadpan[train]'"
        )
