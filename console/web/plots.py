"""Plots as SVG, drawn here: no script, no style in the page, colours from the stylesheet.

The libraries that draw as well bring megabytes, fonts or scripts; six kinds of marks do here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from markupsafe import Markup

from storage.reports.answers import QUESTIONS, Curve, Right
from storage.reports.drift import RECENT, Drift
from storage.reports.forecast import Day, Outlook

_BOTTOM, _TOP = 24, 16
#: Answers of a week that a point stands for at least.
_ENOUGH: Final = 5
_STYLES: Final = dict(zip(QUESTIONS, ("first", "second", "third"), strict=True))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values stand: `x` from 0 to 1, `y` from 0 to `most`."""

    most: float
    percent: bool = False
    width: int = 640
    height: int = 200

    @property
    def left(self) -> int:
        """Room for "100%", in letters that are larger where a wide plot is on a phone."""
        return 60 if self.width == 640 else 44

    def x(self, share: float) -> float:
        return self.left + share * (self.width - self.left - 6)

    def y(self, value: float) -> float:
        base = self.height - _BOTTOM
        return base - value / self.most * (base - _TOP)

    def at(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def drawn(self, parts: Iterable[Markup], label: str) -> Markup:
        kind = "plot" if self.width == 640 else "plot small"
        return Markup(
            '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>'
        ).format(kind, self.width, self.height, label, self._axis(), Markup("").join(parts))

    def _axis(self) -> Markup:
        half = self.most / 2 if self.percent else float(int(self.most) // 2)
        parts = []
        for value in sorted({0.0, half if self.percent or self.most >= 4 else 0.0, self.most}):
            y = self.y(value)  # a line stands where its number is
            said = f"{value * 100:.3g}%" if self.percent else f"{value:,.0f}"
            parts.append(
                Markup(
                    '<line class="grid" x1="{}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
                    '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                ).format(self.left, self.x(1), y, y, self.left - 6, y + 4, said)
            )
        return Markup("").join(parts)

    def bar(self, x: float, width: float, value: float, kind: str, title: str) -> Markup:
        top = self.y(value)
        return Markup(
            '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5">'
            "<title>{}</title></rect>"
        ).format(kind, self.x(x), top, self.x(x + width) - self.x(x), self.y(0) - top, title)

    def line(self, kind: str, points: Iterable[tuple[float, float]]) -> Markup:
        return Markup('<polyline class="line {}" points="{}"/>').format(kind, self.at(points))

    def estimate(
        self, kind: str, x: float, value: float, low: float, high: float, title: str
    ) -> Markup:
        """A point with its interval."""
        place = self.x(x)
        return Markup(
            '<line class="line {}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
            '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>'
        ).format(kind, place, place, self.y(low), self.y(high), kind, place, self.y(value), title)

    def label(self, x: float, words: str, anchor: str = "middle") -> Markup:
        return Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
            self.x(x), self.height - 6, anchor, words
        )


def trend(days: Sequence[Day]) -> Markup:
    """Flags opened and decided, two bars a day."""
    frame = _Frame(max([1, *(max(day.opened, day.decided) for day in days)]))
    step = 1 / max(1, len(days))
    parts = []
    for number, day in enumerate(days):
        x = number * step
        name = f"{day.day:%d %b}"
        opened, decided = f"{name}: {day.opened} opened", f"{name}: {day.decided} decided"
        parts.append(frame.bar(x + 0.12 * step, 0.34 * step, day.opened, "opened", opened))
        parts.append(frame.bar(x + 0.5 * step, 0.34 * step, day.decided, "closed", decided))
        if number % 2 == len(days) % 2:
            parts.append(frame.label(x + step / 2, f"{day.day:%d}"))
    said = ", ".join(f"{d.day:%d %b} {d.opened} opened {d.decided} decided" for d in days[-3:])
    return frame.drawn(parts, f"Flags opened and decided a day; last three: {said}")


def outlook(expected: Outlook, waiting: int) -> Markup:
    """What waits in the next day, between the least and the most of what past ones would give."""
    steps = expected.steps
    frame = _Frame(max([1, waiting, *(step.high for step in steps)]))
    places = [number / len(steps) for number in range(len(steps) + 1)]
    low, middle, high = (
        list(zip(places, (waiting, *values), strict=True))
        for values in (
            [step.low for step in steps],
            [step.expected for step in steps],
            [step.high for step in steps],
        )
    )
    band = Markup('<polygon class="band" points="{}"/>').format(frame.at([*low, *high[::-1]]))
    labels = [
        frame.label(places[number + 1], f"{steps[number].at:%H:%M}")
        for number in range(5, len(steps) - 1, 6)
    ]
    last = expected.last
    said = f"{last.expected:.0f} at {last.at:%H:%M} UTC, between {last.low:.0f} and {last.high:.0f}"
    return frame.drawn(
        [band, frame.line("first", middle), frame.label(0, "now", "start"), *labels],
        f"Flags that wait in the next day: {waiting} now, {said}",
    )


def rightness(weeks: Sequence[Right]) -> Markup:
    """How often the model was right, week by week, a line for each question."""
    frame = _Frame(1.0, percent=True)
    places = [(number + 0.5) / len(weeks) for number in range(len(weeks))]
    parts, said = [], []
    for question, style in _STYLES.items():
        known = [
            (x, week.name, week.shares[question])
            for x, week in zip(places, weeks, strict=True)
            if question in week.shares and week.shares[question].n >= _ENOUGH
        ]
        parts.append(frame.line(style, [(x, share.value or 0.0) for x, _, share in known]))
        for x, name, share in known:
            words = f"{question}, week of {name}: {share.count} of {share.n}"
            parts.append(frame.estimate(style, x, share.value or 0.0, share.low, share.high, words))
        said += [f"{question} {share.count} of {share.n}" for *_, share in known[-1:]]
    every = -(-len(weeks) // 6)
    parts += [
        frame.label(x, week.name[5:])
        for number, (x, week) in enumerate(zip(places, weeks, strict=True))
        if number % every == 0
    ]
    return frame.drawn(parts, f"How often the model was right by week; last: {', '.join(said)}")


def calibration(curve: Curve) -> Markup:
    """What the model says against what people say; on the dotted line both are the same."""
    frame = _Frame(1.0, percent=True, width=320, height=240)
    parts = [frame.line("base", [(0, 0), (1, 1)])]
    for each in curve.bins:
        share = each.share
        words = f"said {each.score:.0%}; people {share.count} of {share.n}"
        parts.append(
            frame.estimate("first", each.score, share.value or 0.0, share.low, share.high, words)
        )
    parts += [frame.label(at, f"{at * 100:.0f}%") for at in (0.0, 0.5)]
    parts.append(frame.label(1, "100%", "end"))
    said = ", ".join(
        f"{each.score:.0%} said, {each.share.count} of {each.share.n} so" for each in curve.bins
    )
    return frame.drawn(parts, f"{curve.name}: {said}")


def drift(measured: Drift) -> Markup:
    """A bar a day; those of this week stand out."""
    known = [day for day in measured.days if day is not None]
    most = max([0.01, *known])
    whole = 0.05 if most > 0.05 else 0.01
    frame = _Frame(ceil(most / whole) * whole, percent=True)
    step = 1 / len(measured.days)
    recent = len(measured.days) - RECENT
    parts = [
        frame.bar(
            (number + 0.15) * step,
            0.7 * step,
            day,
            "closed" if number >= recent else "opened",
            f"{len(measured.days) - 1 - number} days ago: {day:.1%}",
        )
        for number, day in enumerate(measured.days)
        if day is not None
    ]
    parts += [frame.label(0, "5 weeks ago", "start"), frame.label(1, "now", "end")]
    return frame.drawn(parts, f"{measured.measure} by day: {_means(measured)}")


def _means(measured: Drift) -> str:
    pair = (("this week", measured.recent), ("the four weeks before", measured.before))
    return ", ".join(f"{value:.1%} {when}" for when, value in pair if value is not None)
