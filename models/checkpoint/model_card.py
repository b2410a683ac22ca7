"""The model card, written from a checkpoint's `config.json` and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.posts.prediction import OF_WORDS, QUESTIONS

_METRICS = ("accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece")

Document = Mapping[str, Any]


def model_card(document: Document) -> str:
    """Markdown, for people who must decide whether to use the model whose `config.json` it is."""
    blocks = [
        f"# Model card: {document['version']}",
        "Rates the sentiment of a post, its words and pictures together (negative, neutral, "
        f"positive), and whether it is meant sarcastically{_more(document['model'])}. Made to put "
        "posts in front of a human, not to act on them alone.",
        "This file is written from `config.json` by `deadpan train`; do not edit it.",
        "## What it is made of",
        "\n".join(_parts(document)),
        *_data(document["data"]),
        *_scores(document["scores"]),
        *_training(document.get("training", {})),
        *_calibration(document.get("calibration") or {}),
        "## Versions",
        _listed(document["versions"]),
    ]
    return "\n\n".join(blocks) + "\n"


def _more(model: Document) -> str:
    """What else a model is asked, in words."""
    asked = [name for name in OF_WORDS if name in model["questions"]]
    return f"; and whether its words are {' or '.join(asked)}" if asked else ""


def _parts(document: Document) -> Iterator[str]:
    model, weights = document["model"], document["weights"]
    size = model["image_size"]
    for key, kind, more in (
        (
            "text",
            "words",
            f"{model['text']['pooling']}-pooled; at most {model['max_tokens']} tokens",
        ),
        (
            "image",
            "pictures",
            f"{'pooled by itself' if model['image']['kind'] == 'tower' else 'average-pooled'}, "
            f"squashed to {size} x {size} pixels; "
            "several pictures are pooled by attention",
        ),
    ):
        encoder = model[key]
        changed = sum(name.startswith(f"{key}.") for name in model["trained"])
        yield (
            f"- {kind}: {encoder.get('architecture') or encoder['kind']} from "
            f"`{encoder['location']}` {encoder['version']}, {encoder['dim']} numbers, {more}; "
            f"{f'{changed} tensors fine-tuned' if changed else 'frozen'}; it started from weights "
            f"with SHA-256 `{encoder['sha256']}`"
        )
    of_pictures = model["of_pictures"]
    of_words = [name for name in model["questions"] if name not in of_pictures]
    yield (
        f"- fusion: {model['fusion']}, width {model['hidden']}, dropout {model['dropout']}; heads "
        f"for {' and '.join(of_pictures)}, each fused, of words alone and of pictures alone"
        f"{', and of words alone for ' + ' and '.join(of_words) if of_words else ''}; a post "
        "without pictures is judged by its words alone, and the other way round"
    )
    if foreign := model.get("multilingual"):
        yield (
            f"- words that are not English: {foreign['kind']} from `{foreign['location']}` "
            f"{foreign['version']}, {foreign['dim']} numbers, and runs of letters; "
            f"weights with SHA-256 `{foreign['sha256']}`"
        )
    yield f"- languages learnt: {', '.join(model['languages'])}"
    yield f"- `{weights['file']}` holds what training changed: {weights['bytes']:,} bytes"


def _data(data: Document) -> Iterator[str]:
    for key, title in (("train", "Learnt from"), ("dev", "Chosen and measured on")):
        if not (files := data.get(key)):
            continue
        yield f"## {title}"
        yield _table(
            ("data", "posts", "with pictures", "labels", "source", "terms"),
            [
                (
                    file["name"],
                    f"{file.get('posts', 0):,}",
                    f"{file.get('with_pictures', 0):,}",
                    _labels(file),
                    file.get("source") or "not stated",
                    file.get("licence") or "not stated",
                )
                for file in files
            ],
        )
    if removed := data.get("removed_from_train"):
        yield (
            "Left out of training, because dev posts must not be learnt from: "
            f"{removed['text_in_dev']:,} posts whose words stand in a dev file, "
            f"{removed['image_in_dev']:,} more whose picture does; also "
            f"{removed.get('with_pictures', 0):,} whose words another post has with a picture, "
            f"{removed['repeated']:,} repetitions and {removed['unlabelled']:,} without label. "
            "Pictures are compared byte by byte; a copy that was encoded again is not found."
        )


def _labels(file: Document) -> str:
    counts = {**file.get("sentiment", {})}
    counts |= {label: file.get(label, 0) for label in ("sarcastic", "literal")}
    for name in OF_WORDS:
        answers = file.get(name, {})
        counts |= {name: answers.get("True", 0), f"not {name}": answers.get("False", 0)}
    return ", ".join(f"{count:,} {label}" for label, count in counts.items() if count)


def _scores(scores: Document) -> Iterator[str]:
    yield "## Scores on the dev files"
    yield (
        "Value and 95 % bootstrap interval. The dev files chose the epoch, so expect a little less "
        "on posts that nobody has chosen by. `all` is the whole file; `unseen` leaves out posts "
        "whose words or picture stand in a training file as published."
    )
    yield _table(
        ("data", "part", "question", "read-out", "posts", *_METRICS),
        [
            (name, part, head, read_out, f"{found['n']:,}", *_intervals(found, _METRICS))
            for name, parts in scores.items()
            for part, heads in parts.items()
            for head in QUESTIONS
            for read_out, found in (heads.get(head) or {}).items()
            if found is not None
        ],
    )
    yield "F1 by class, fused, all posts:"
    fused = [
        (name, (parts.get("all", {}).get(head) or {}).get("fused") or {})
        for name, parts in scores.items()
        for head in QUESTIONS
    ]
    columns = ("precision", "recall", "f1")
    yield _table(
        ("data", "label", "precision", "recall", "F1", "posts"),
        [
            (name, label, *_intervals(found, columns), f"{found['support']:,}")
            for name, metrics in fused
            for label, found in metrics.get("per_class", {}).items()
        ],
    )


def _training(training: Document) -> Iterator[str]:
    if not training:
        return
    yield "## Training"
    yield _listed({k: v for k, v in training.items() if k not in ("notes", "stages")})
    yield from (f"- {_listed(stage)}" for stage in training.get("stages", []))
    if training.get("notes"):
        yield str(training["notes"])


def _calibration(calibration: Document) -> Iterator[str]:
    if not calibration:
        return
    yield "## Calibrated"
    files = ", ".join(f"{file['name']} ({file['n']:,} posts)" for file in calibration["data"])
    yield f"Version {calibration['version']}, on {files}. Logits are divided by these temperatures:"
    yield "\n".join(
        f"- {question}: {_listed(found)}" for question, found in calibration["temperatures"].items()
    )


def _listed(pairs: Document) -> str:
    return ", ".join(f"{key} {value}" for key, value in pairs.items())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def _intervals(found: Document, metrics: Sequence[str]) -> Iterator[str]:
    for one in (found[metric] for metric in metrics):
        yield f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
