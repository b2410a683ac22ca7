"""Plots as SVG, drawn here: no script, no style in the page, colours from the stylesheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from storage.reports.insight import WAITS, Day

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 200, 40, 24, 16
_WAIT_WORDS = ("1 min", "10 min", "1 h", "8 h", "1 d", "3 d")


def trend(days: Sequence[Day]) -> Markup:
    """Flags opened and decided, two bars a day."""
    most = max([1, *(max(day.opened, day.decided) for day in days)])
    step = (_WIDTH - _LEFT) / max(1, len(days))
    parts = [_axis(most)]
    for number, day in enumerate(days):
        x = _LEFT + number * step
        name = f"{day.day:%d %b}"
        opened, decided = f"{name}: {day.opened} opened", f"{name}: {day.decided} decided"
        width = step * 0.34
        parts.append(_bar(x + 0.12 * step, width, day.opened, most, "opened", opened))
        parts.append(_bar(x + 0.5 * step, width, day.decided, most, "closed", decided))
        if number % 2 == len(days) % 2:
            parts.append(_label(x + step / 2, f"{day.day:%d}"))
    said = ", ".join(f"{d.day:%d %b} {d.opened} opened {d.decided} decided" for d in days[-3:])
    return _svg(parts, f"Flags opened and decided a day; last three: {said}")


def waits(counted: Sequence[int]) -> Markup:
    """How long decided flags had waited."""
    assert len(counted) == len(WAITS) + 1
    names = [f"< {words}" for words in _WAIT_WORDS] + [f"> {_WAIT_WORDS[-1]}"]
    most = max([1, *counted])
    step = (_WIDTH - _LEFT) / len(counted)
    parts = [_axis(most)]
    for number, (value, name) in enumerate(zip(counted, names, strict=True)):
        x = _LEFT + number * step
        parts.append(_bar(x + step * 0.18, step * 0.64, value, most, "closed", f"{name}: {value}"))
        parts.append(_label(x + step / 2, name))
    said = ", ".join(f"{name} {value}" for name, value in zip(names, counted, strict=True))
    return _svg(parts, f"Decided flags by how long they waited: {said}")


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("").join(parts))


def _axis(most: int) -> Markup:
    base = _HEIGHT - _BOTTOM
    parts = []
    for value in sorted({0, most // 2 if most >= 4 else 0, most}):
        y = base - value / most * (base - _TOP)  # a line stands where its number is
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(_LEFT, _WIDTH, y, y, _LEFT - 6, y + 4, value)
        )
    return Markup("").join(parts)


def _bar(x: float, width: float, value: int, most: int, kind: str, title: str) -> Markup:
    height = (_HEIGHT - _BOTTOM - _TOP) * value / most
    return Markup(
        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5">'
        "<title>{}</title></rect>"
    ).format(kind, x, _HEIGHT - _BOTTOM - height, width, height, title)


def _label(x: float, words: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
        x, _HEIGHT - 6, words
    )
