"""From results to a table, the ratios and a plot."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from benchmarks.measure import Result, median, median_stages, percentile
from benchmarks.stages import MODEL

BEGIN, END = "<!-- bench begins -->", "<!-- bench ends -->"
PEERS = ("celery-batches", "ray-serve", "litserve")

TITLES = {
    "limit": "`limit`: the bare loop",
    "deadpan": "**`deadpan`**: RPUSH to commit",
    "deadpan, repeated": "the same posts under new ids",
    "deadpan, unchanged": "the same ids again",
    "deadpan, by stage": "with timers at each stage",
    "naive": "`naive`: the article's way",
    "celery-batches": "Celery with celery-batches",
    "ray-serve": "Ray Serve, `@serve.batch`",
    "litserve": "LitServe, batching",
}


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of the issue that asked for speed, as measured.

    Attributes:
        goal, least: what it should and must reach.
        higher: whether more is better.
    """

    name: str
    goal: float
    least: float
    measured: float | None
    higher: bool = True
    unit: str = ""

    @property
    def standing(self) -> str:
        """In a word."""
        if self.measured is None:
            return "not measured"
        sign = 1 if self.higher else -1
        for word, wanted in (("goal", self.goal), ("minimum", self.least)):
            if sign * self.measured >= sign * wanted:
                return word
        return "missed"


def by_row(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results of each row that could be measured, in the order of the titles."""
    found: dict[str, list[Result]] = {name: [] for name in TITLES}
    for result in results:
        if not result.failed:
            found[result.row].append(result)
    return {name: rows for name, rows in found.items() if rows}


def ratios(results: Sequence[Result]) -> list[Ratio]:
    """The ratios, each the median over rounds of the ratio within a round.

    Rounds are interleaved, so what slows the machine down for a while slows both sides down.
    """
    rounds = _rounds(results)

    def ratio(above: str, below: Sequence[str]) -> float | None:
        found = []
        for each in rounds:
            rates = [each[name].rate for name in below if name in each]
            if above in each and rates and max(rates) > 0:
                found.append(each[above].rate / max(rates))
        return median(found) if found else None

    outside = [
        sum(ms for name, ms in result.stages_ms.items() if name not in MODEL)
        for result in results
        if result.row == "deadpan, by stage" and not result.failed and result.stages
    ]
    return [
        Ratio("deadpan / limit", 0.90, 0.75, ratio("deadpan", ["limit"])),
        Ratio("deadpan / naive", 25, 12, ratio("deadpan", ["naive"])),
        Ratio("deadpan / best peer on the same engine", 1.5, 1.1, ratio("deadpan", PEERS)),
        Ratio(
            "posts repeated from cache / fresh posts",
            5,
            3,
            ratio("deadpan, repeated", ["deadpan"]),
        ),
        Ratio(
            "CPU per post outside model, decode and tokeniser",
            0.5,
            1.0,
            median(outside) if outside else None,
            higher=False,
            unit=" ms",
        ),
    ]


def block(results: Sequence[Result], about: Sequence[str], picture: str) -> str:
    """What stands between the markers: tables in Markdown."""
    rows = by_row(results)
    lines = ["", *(f"- {line}" for line in [machine(), *about]), ""]
    lines += _throughput(rows, results)
    lines += ["", "| ratio | goal | minimum | measured | |", "|---|---|---|---|---|"]
    for ratio in ratios(results):
        measured = "" if ratio.measured is None else f"{ratio.measured:.2f}{ratio.unit}"
        lines.append(
            f"| {ratio.name} | {ratio.goal:g}{ratio.unit} | {ratio.least:g}{ratio.unit} "
            f"| {measured} | {ratio.standing} |"
        )
    lines += ["", *_by_stage(rows), "", f"![Posts per second by row]({picture})", ""]
    return "\n".join(lines)


def _throughput(rows: Mapping[str, Sequence[Result]], results: Sequence[Result]) -> list[str]:
    lines = [
        "| row | posts | posts/s (lowest–highest) | CPU ms/post | p50 ms | p95 ms | RSS MB "
        "| PSS MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, title in TITLES.items():
        found = rows.get(name, [])
        if not found:
            failed = [r.failed for r in results if r.row == name and r.failed]
            if failed:
                lines.append(f"| {title} | | not measured: {_cell(failed[-1])} | | | | | |")
            continue
        broken = [r.failed for r in results if r.row == name and r.failed]
        if broken:
            rounds = len(broken) + len(found)
            title += f" ({len(broken)} of {rounds} rounds failed: {_cell(broken[-1])})"
        rates = [result.rate for result in found]
        waits = [result.latencies_ms for result in found if result.latencies_ms]
        p50 = f"{median([percentile(w, 0.5) for w in waits]):.0f}" if waits else ""
        p95 = f"{median([percentile(w, 0.95) for w in waits]):.0f}" if waits else ""
        rss = median([result.rss_mb for result in found])
        pss = median([result.pss_mb for result in found if result.pss_mb is not None])
        cells = [
            title,
            str(found[0].posts),
            f"{median(rates):.1f} ({min(rates):.1f}–{max(rates):.1f})",
            f"{median([result.cpu_ms for result in found]):.2f}",
            p50,
            p95,
            f"{rss:.0f}" if rss else "",
            f"{pss:.0f}" if pss else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _by_stage(rows: Mapping[str, Sequence[Result]]) -> list[str]:
    clocked = {
        name: median_stages(rows[name]) for name in ("deadpan, by stage", "limit") if name in rows
    }
    clocked = {name: stages for name, stages in clocked.items() if stages}
    if not clocked:
        return []
    stages = dict.fromkeys(stage for found in clocked.values() for stage in found)
    lines = [
        "CPU milliseconds per post by stage:",
        "",
        "| stage | " + " | ".join(clocked) + " |",
        "|---|" + "--:|" * len(clocked),
    ]
    for stage in stages:
        cells = [f"{found[stage]:.3f}" if stage in found else "" for found in clocked.values()]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    sums = [f"**{sum(found.values()):.2f}**" for found in clocked.values()]
    return [*lines, "| all | " + " | ".join(sums) + " |"]


def plot(results: Sequence[Result]) -> str:
    """An SVG: posts per second as bars with their range, and Deadpan's CPU by stage below."""
    rows = by_row(results)
    shown = [name for name in rows if name != "deadpan, by stage"]
    top = max([result.rate for name in shown for result in rows[name]] or [1.0])
    left, width, line = 190, 430, 26
    parts: list[str] = []

    def text(x: float, y: float, said: str, anchor: str = "start", size: int = 12) -> None:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
            f"{escape(said)}</text>"
        )

    y = 30.0
    text(10, 18, "posts per second (bar: median of rounds; line: lowest to highest)", size=13)
    for name in shown:
        rates = [result.rate for result in rows[name]]
        middle = y + line / 2
        colour = "#2b6cb0" if name.startswith("deadpan") else "#718096"
        colour = "#2f855a" if name == "limit" else colour
        reach = width * median(rates) / top
        parts.append(
            f'<rect x="{left}" y="{y + 4:.1f}" width="{reach:.1f}" height="{line - 8}" '
            f'fill="{colour}"/>'
        )
        low, high = (left + width * value / top for value in (min(rates), max(rates)))
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
            'stroke="#1a202c" stroke-width="1.5"/>'
        )
        text(left - 8, middle + 4, name, "end")
        text(max(left + reach, high) + 6, middle + 4, f"{median(rates):.1f}")
        y += line
    stages = median_stages(rows.get("deadpan, by stage", []))
    if stages:
        y += 24
        text(10, y, "CPU milliseconds per post, Deadpan by stage", size=13)
        y += 10
        longest = max(stages.values()) or 1.0
        for stage, value in stages.items():
            colour = "#a0aec0" if stage in MODEL else "#dd6b20"
            reach = width * value / longest
            parts.append(
                f'<rect x="{left}" y="{y + 4:.1f}" width="{reach:.1f}" height="{line - 12}" '
                f'fill="{colour}"/>'
            )
            text(left - 8, y + 15, stage, "end")
            text(left + reach + 6, y + 15, f"{value:.2f}")
            y += line - 4
    height = y + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height:.0f}" '
        'font-family="sans-serif" role="img" aria-label="Posts per second by row">\n'
        f'<rect width="700" height="{height:.0f}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def machine() -> str:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            s for s in info.read_text(encoding="utf-8").splitlines() if s.startswith("model name")
        ]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{os.cpu_count()} cores, {model}; {platform.system()}, Python {platform.python_version()}"
    )


def between_markers(page: str, new: str) -> str:
    """The page with what stands between the markers replaced; the prose around is kept.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def as_json(results: Sequence[Result]) -> str:
    """All that was measured, for whoever wants to look closer."""
    return json.dumps([asdict(result) for result in results], indent=1)


def _rounds(results: Sequence[Result]) -> list[dict[str, Result]]:
    """The n-th result of each row belongs to the n-th round; failed ones keep their place."""
    rounds: list[dict[str, Result]] = []
    seen: dict[str, int] = {}
    for result in results:
        number = seen.get(result.row, 0)
        seen[result.row] = number + 1
        while len(rounds) <= number:
            rounds.append({})
        if not result.failed:
            rounds[number][result.row] = result
    return rounds


def _cell(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # colours of a log
    return " ".join(text.split()).replace("|", "/")[:240]
