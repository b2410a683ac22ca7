"""The model card, written from a checkpoint's `config.json` and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_METRICS = ("accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece")
_HEADS = ("sentiment", "sarcasm")


def model_card(document: Mapping[str, Any]) -> str:
    """Markdown for people who must decide whether to use the model.

    Args:
        document: the content of `config.json`.
    """
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    model, data = document["model"], document["data"]
    text, image = model["text"], model["image"]
    yield f"# Model card: {document['version']}"
    yield ""
    yield (
        "Says of a post, its words and pictures together, how it feels (negative, neutral, "
        "positive) and whether it is meant sarcastically. Made to put posts in front of a human, "
        "not to act on them alone."
    )
    yield ""
    yield "This file is written from `config.json` by `deadpan train`; do not edit it."
    yield ""
    yield "## What it is made of"
    yield ""
    for kind, encoder, more in (
        ("words", text, f"{text['pooling']}-pooled; at most {model['max_tokens']} tokens"),
        (
            "pictures",
            image,
            f"average-pooled, squashed to {model['image_size']} x {model['image_size']} pixels; "
            "several pictures are pooled by attention",
        ),
    ):
        changed = sum(
            name.startswith("text." if kind == "words" else "image.") for name in model["trained"]
        )
        yield (
            f"- {kind}: {encoder.get('architecture') or encoder['kind']} from "
            f"`{encoder['location']}` {encoder['version']}, {encoder['dim']} numbers, {more}; "
            f"{f'{changed} tensors fine-tuned' if changed else 'frozen'}; it started from weights "
            f"with SHA-256 `{encoder['sha256']}`"
        )
    yield (
        f"- fusion: {model['fusion']}, width {model['hidden']}, dropout {model['dropout']}; heads "
        "for sentiment and sarcasm, each fused, of words alone and of pictures alone; a post "
        "without pictures is judged by its words alone, and the other way round"
    )
    yield (
        f"- `{document['weights']['file']}` holds what training changed, in half precision: "
        f"{document['weights']['bytes']:,} bytes"
    )
    yield ""
    yield from _data(data)
    yield from _scores(document["scores"])
    yield from _training(document.get("training", {}))
    yield from _calibration(document.get("calibration") or {})
    yield "## Versions"
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in document["versions"].items())


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    for key, title in (("train", "Learnt from"), ("dev", "Chosen and measured on")):
        files = data.get(key, [])
        if not files:
            continue
        yield f"## {title}"
        yield ""
        yield "| data | posts | with pictures | labels | source | terms |"
        yield "|---|---|---|---|---|---|"
        for file in files:
            labels = {
                **file.get("sentiment", {}),
                "sarcastic": file.get("sarcastic", 0),
                "literal": file.get("literal", 0),
            }
            shown = ", ".join(f"{count:,} {label}" for label, count in labels.items() if count)
            yield (
                f"| {file['name']} | {file.get('posts', 0):,} | {file.get('with_pictures', 0):,} | "
                f"{shown} | {file.get('source') or 'not stated'} | "
                f"{file.get('licence') or 'not stated'} |"
            )
        yield ""
    removed = data.get("removed_from_train")
    if removed:
        yield (
            "Left out of training, because dev posts must not be learnt from: "
            f"{removed['text_in_dev']:,} posts whose words stand in a dev file, "
            f"{removed['image_in_dev']:,} more whose picture does; also "
            f"{removed['repeated']:,} repetitions and {removed['unlabelled']:,} without label. "
            "Pictures are compared byte by byte; a copy that was encoded again is not found."
        )
        yield ""


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores on the dev files"
    yield ""
    yield (
        "Value and 95 % bootstrap interval. The dev files chose the epoch, so expect a little less "
        "on posts that nobody has chosen by. `all` is the whole file; `unseen` leaves out posts "
        "whose words or picture stand in a training file as published."
    )
    yield ""
    yield f"| data | part | question | read-out | posts | {' | '.join(_METRICS)} |"
    yield "|---" * (5 + len(_METRICS)) + "|"
    for name, parts in scores.items():
        for part, heads in parts.items():
            for head in _HEADS:
                for read_out, metrics in (heads.get(head) or {}).items():
                    if metrics is not None:
                        cells = " | ".join(_interval(metrics[metric]) for metric in _METRICS)
                        place = f"{name} | {part} | {head} | {read_out}"
                        yield f"| {place} | {metrics['n']:,} | {cells} |"
    yield ""
    yield "F1 by class, fused, all posts:"
    yield ""
    yield "| data | label | precision | recall | F1 | posts |"
    yield "|---|---|---|---|---|---|"
    for name, parts in scores.items():
        for head in _HEADS:
            fused = (parts.get("all", {}).get(head) or {}).get("fused")
            for label, metrics in (fused or {}).get("per_class", {}).items():
                cells = " | ".join(
                    _interval(metrics[metric]) for metric in ("precision", "recall", "f1")
                )
                yield f"| {name} | {label} | {cells} | {metrics['support']:,} |"
    yield ""


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    if not training:
        return
    yield "## Training"
    yield ""
    plain = {k: v for k, v in training.items() if k not in ("notes", "stages")}
    yield ", ".join(f"{key} {value}" for key, value in plain.items())
    for stage in training.get("stages", []):
        yield ""
        yield "- " + ", ".join(f"{key} {value}" for key, value in stage.items())
    yield ""
    if training.get("notes"):
        yield str(training["notes"])
        yield ""


def _calibration(calibration: Mapping[str, Any]) -> Iterator[str]:
    if not calibration:
        return
    yield "## Calibrated"
    yield ""
    files = ", ".join(f"{file['name']} ({file['n']:,} posts)" for file in calibration["data"])
    yield f"Version {calibration['version']}, on {files}. Logits are divided by these temperatures:"
    yield ""
    for question, temperatures in calibration["temperatures"].items():
        shown = ", ".join(f"{pattern} {value}" for pattern, value in temperatures.items())
        yield f"- {question}: {shown}"
    yield ""


def _interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
