"""Small SVG plots. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from models.evaluation.metrics import Array

Bools = npt.NDArray[np.bool_]

SIDE = 200
"""Of the plotted square, in CSS pixels."""

_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 8, 10, 36


class Line(NamedTuple):
    """A curve in the unit square, drawn in a class of the style sheet."""

    style: str
    points: Sequence[tuple[float, float]]


def precision_recall(scores: Array, truth: Bools) -> list[tuple[float, float]]:
    """(recall, precision) for every threshold that changes something, the highest first.

    Args:
        scores: float [posts].
        truth: bool [posts], at least one true.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    # posts of one score are flagged together or not at all
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    recall, precision = hits[last] / truth.sum(), hits[last] / (last + 1)
    return list(zip(recall.tolist(), precision.tolist(), strict=True))


def average_precision(curve: Sequence[tuple[float, float]]) -> float:
    """Area under a precision-recall curve, as steps (scikit-learn's definition)."""
    before = 0.0
    area = 0.0
    for recall, precision in curve:
        area += (recall - before) * precision
        before = recall
    return area


def curves(
    lines: Sequence[Line], *, x: str, y: str, title: str, base: float | None = None
) -> Markup:
    """Curves in a unit square.

    Args:
        base: height of a dotted line: what guessing would reach.
    """
    parts = []
    if base is not None:
        parts.append(_line("base", (0, base), (1, base)))
    parts += [_polyline(line.style, _thin(line.points)) for line in lines]
    return _plot(parts, x=x, y=y, title=title)


def reliability(confidence: Array, hit: Bools, *, bins: int, style: str, title: str) -> Markup:
    """Confidence against accuracy in bins; a bar of its own says how many posts a bin has.

    Args:
        confidence: float [posts], of the answer given.
        hit: bool [posts], whether it was right.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    mean = np.bincount(index, confidence, bins) / np.maximum(count, 1)
    right = np.bincount(index, hit, bins) / np.maximum(count, 1)
    parts = [_line("base", (0, 0), (1, 1))]
    for number in np.flatnonzero(count):
        share = count[number] / len(confidence)
        left, width = _x(number / bins), SIDE / bins - 1
        parts.append(
            Markup('<rect class="count" x="{}" y="{}" width="{:.1f}" height="{:.1f}"/>').format(
                left, _y(0.35 * share), width, 0.35 * share * SIDE
            )
        )
    points = []
    for number in np.flatnonzero(count):
        # two standard errors of a share of so few posts
        error = 2 * np.sqrt(max(right[number] * (1 - right[number]), 0.01) / count[number])
        low, high = max(0.0, right[number] - error), min(1.0, right[number] + error)
        points.append((float(mean[number]), float(right[number])))
        parts.append(_line(f"error {style}", (mean[number], low), (mean[number], high)))
        parts.append(
            Markup(
                '<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}</title></circle>'
            ).format(
                style,
                _x(mean[number]),
                _y(right[number]),
                f"{count[number]} posts: said {mean[number]:.0%}, right {right[number]:.0%}",
            )
        )
    parts.append(_polyline(style, points))
    return _plot(parts, x="probability of the answer", y="share that is right", title=title)


def histograms(groups: Mapping[str, Array], *, bins: int, x: str, title: str) -> Markup:
    """Shares of posts by a score between 0 and 1, a stepped line each.

    Args:
        groups: by class of the style sheet, float [posts].
    """
    shares = {
        style: np.histogram(values, bins, (0.0, 1.0))[0] / max(1, len(values))
        for style, values in groups.items()
    }
    top = max(0.01, *(float(found.max()) for found in shares.values()))
    lines = []
    for style, found in shares.items():
        points: list[tuple[float, float]] = [(0.0, 0.0)]
        for number, share in enumerate((found / top).tolist()):
            points += [(number / bins, share), ((number + 1) / bins, share)]
        lines.append(Line(style, [*points, (1.0, 0.0)]))
    parts = [_polyline(line.style, line.points) for line in lines]
    return _plot(parts, x=x, y="share of posts", title=title, top=top)


def _line(style: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        style, _x(start[0]), _y(start[1]), _x(end[0]), _y(end[1])
    )


def _polyline(style: str, points: Sequence[tuple[float, float]]) -> Markup:
    places = " ".join(f"{_x(px)},{_y(py)}" for px, py in points)
    return Markup('<polyline class="line {}" points="{}"/>').format(style, places)


def _plot(parts: Sequence[Markup], *, x: str, y: str, title: str, top: float = 1.0) -> Markup:
    width, height = _LEFT + SIDE + _RIGHT, _TOP + SIDE + _BOTTOM
    return Markup("").join(
        [
            Markup(
                '<svg class="plot" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
                'aria-label="{title}">'
            ).format(w=width, h=height, title=title),
            Markup("").join(_axes(x, y, top)),
            *parts,
            Markup("</svg>"),
        ]
    )


def _axes(x: str, y: str, top: float) -> Iterator[Markup]:
    for number in range(5):
        at = number / 4
        yield _line("grid", (at, 0), (at, 1))
        yield _line("grid", (0, at), (1, at))
        yield Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            _x(at), _TOP + SIDE + 14, f"{at:g}"
        )
        yield Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            _LEFT - 5, float(_y(at)) + 3.5, f"{at * top:.2g}"
        )
    yield Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        _LEFT + SIDE / 2, _TOP + SIDE + 30, escape(x)
    )
    yield Markup(
        '<text class="axis" transform="translate(10 {}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(_TOP + SIDE / 2, escape(y))


def _thin(points: Sequence[tuple[float, float]], most: int = 400) -> Sequence[tuple[float, float]]:
    """No more points than can be seen; the first and the last stay."""
    if len(points) <= most:
        return points
    chosen = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[index] for index in chosen]


def _x(value: float) -> str:
    return f"{_LEFT + value * SIDE:.1f}"


def _y(value: float) -> str:
    return f"{_TOP + (1 - value) * SIDE:.1f}"
