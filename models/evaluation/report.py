"""An evaluation as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from deadpan.core.errors import DataError, ImageError
from models.checkpoint.calibration import HEADS
from models.data.posts_file import LabelledPost, PostsFile
from models.evaluation import plots
from models.evaluation.conflict_auc import conflict_scores
from models.evaluation.judge import Judged, labels_for
from models.evaluation.metrics import ECE_BINS, METRICS
from models.posts.images import decode_image
from models.posts.normal_form.normalise import normalise_text
from models.posts.prediction import QUESTIONS

MISTAKES = 12
"""The worst of each head that are shown."""

PICTURE_SIDE = 320
"""Longest side of an embedded picture, in pixels."""

NAMES = {
    "fused": "words and picture",
    "text_alone": "words alone",
    "image_alone": "picture alone",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "macro_recall": "macro recall",
    "ece": "calibration error",
    "fused - text_alone": "words and picture, minus words alone",
    "fused - image_alone": "words and picture, minus picture alone",
}
"""How people read what programs call otherwise."""

_MAX_PIXELS = 50_000_000
_MAX_CHARACTERS = 600


def write_report(path: Path, page: str) -> None:
    """Write the page, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(page.encode("utf-8", "replace"))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(
            [f"{path} cannot be written: {error.strerror or error}; name another --report"]
        ) from error


def render_report(
    judged: Judged,
    measured: Mapping[str, Any],
    files: Sequence[PostsFile],
    *,
    conflicting: Judged | None = None,
    conflict: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML.

    Args:
        measured: as `models.evaluation.judge.measure_judged` gives it.
        conflicting: posts whose words and picture contradict each other, judged too.
        conflict: as `models.evaluation.conflict_auc.measure_conflict` gives it.
    """
    environment = Environment(
        loader=PackageLoader("models.evaluation"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:.3f}"
    environment.filters["signed"] = lambda value: f"{value:+.3f}".replace("-", "−")
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    return environment.get_template("report.html").render(
        model=judged.model,
        calibration=judged.calibration,
        files=files,
        metrics=METRICS,
        names=NAMES,
        heads=[_head(judged, head, measured) for head in HEADS if measured[head]],
        conflict=conflict,
        conflict_plot=_conflict_plot(judged, conflicting),
    )


def _head(judged: Judged, head: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    read_outs = {name: found for name, found in measured[head].items() if found}
    return {
        "name": head,
        "labels": QUESTIONS[head],
        "read_outs": read_outs,
        "differences": measured["differences"][head],
        "confusions": {name: _confusion(judged, head, name) for name in read_outs},
        "precision_recall": list(_precision_recall(judged, head, list(read_outs))),
        "reliability": {name: _reliability(judged, head, name) for name in read_outs},
        "mistakes": _mistakes(judged, head),
        "wrong": int(_wrong(judged, head).sum()),
    }


def _chosen(judged: Judged, head: str, read_out: str) -> Any:
    """Probabilities and labels of the posts that have the read-out and a label."""
    answer = judged.answers[read_out]
    labels = labels_for(judged.labels, read_out, head)
    rows = (labels >= 0) & answer.given
    return answer.of[head][rows], labels[rows]


def _confusion(judged: Judged, head: str, read_out: str) -> list[list[tuple[int, float]]]:
    """Posts and share of the row, by label and answer."""
    probabilities, labels = _chosen(judged, head, read_out)
    size = len(QUESTIONS[head])
    cells = np.bincount(labels * size + probabilities.argmax(axis=1), minlength=size * size)
    table = cells.reshape(size, size)
    total = np.maximum(table.sum(axis=1, keepdims=True), 1)
    return [
        list(zip(counts, shares, strict=True))
        for counts, shares in zip(table.tolist(), (table / total).tolist(), strict=True)
    ]


def _precision_recall(judged: Judged, head: str, read_outs: Sequence[str]) -> Any:
    """A plot for each label; of two labels, the first says nothing new."""
    labels = QUESTIONS[head]
    for index, label in enumerate(labels):
        if len(labels) == 2 and index == 0:
            continue
        lines, areas, base = [], [], None
        for read_out in read_outs:
            probabilities, truth = _chosen(judged, head, read_out)
            if not (truth == index).any():
                continue
            curve = plots.precision_recall(probabilities[:, index], truth == index)
            areas.append((read_out, plots.average_precision(curve)))
            lines.append(plots.Line(read_out, curve))
            base = float((truth == index).mean()) if base is None else base
        if lines:
            # the read-out that matters is drawn last, on top
            drawn = plots.curves(
                lines[::-1],
                x="recall",
                y="precision",
                base=base,
                title=f"{label}: precision by recall",
            )
            yield {"label": label, "plot": drawn, "areas": areas}


def _reliability(judged: Judged, head: str, read_out: str) -> Markup:
    probabilities, labels = _chosen(judged, head, read_out)
    return plots.reliability(
        probabilities.max(axis=1),
        probabilities.argmax(axis=1) == labels,
        bins=ECE_BINS,
        style=read_out,
        title=f"{head}, {NAMES[read_out]}: share that is right by probability",
    )


def _wrong(judged: Judged, head: str) -> Any:
    labels = judged.labels[head]
    answers = judged.answers["fused"].of[head].argmax(axis=1)
    return (labels >= 0) & (answers != labels)


def _mistakes(judged: Judged, head: str) -> list[dict[str, Any]]:
    """Those that the model was surest of."""
    wrong = np.flatnonzero(_wrong(judged, head))
    fused = judged.answers["fused"].of[head]
    order = wrong[np.argsort(-fused[wrong].max(axis=1), kind="stable")][:MISTAKES]
    return [_mistake(judged, head, int(row)) for row in order]


def _mistake(judged: Judged, head: str, row: int) -> dict[str, Any]:
    """A post whose answer is wrong, as the page shows it: with what each read-out said."""
    post, labels = judged.posts[row], QUESTIONS[head]
    text = normalise_text(post.text)
    return {
        "post_id": post.id,
        "text": text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} …",
        "pictures": _pictures(post),
        "label": labels[judged.labels[head][row]],
        "answer": labels[int(judged.answers["fused"].of[head][row].argmax())],
        "read_outs": [
            (NAMES[name], list(zip(labels, answer.of[head][row].tolist(), strict=True)))
            for name, answer in judged.answers.items()
            if answer.given[row] and head in answer.of
        ],
    }


def _pictures(post: LabelledPost) -> list[Markup]:
    """The post's first pictures, decoded as the model's are and encoded again, as data URIs."""
    found = []
    for path in post.images[:3]:
        try:
            decoded = decode_image(path.read_bytes(), max_pixels=_MAX_PIXELS, image_size=32)
        except (OSError, ImageError):
            continue
        image = Image.fromarray(decoded.thumbnail)
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=72)
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        found.append(Markup(f"data:image/jpeg;base64,{encoded}"))  # noqa: S704 - base64 only
    return found


def _conflict_plot(judged: Judged, conflicting: Judged | None) -> Markup | None:
    if conflicting is None:
        return None
    groups = {}
    for style, one in (("consistent", judged), ("conflict", conflicting)):
        values = conflict_scores(one)["disagreement"]
        groups[style] = values[~np.isnan(values)]
    if not all(len(values) for values in groups.values()):
        return None
    return plots.histograms(
        groups, bins=20, x="disagreement", title="disagreement of consistent and conflicting posts"
    )
