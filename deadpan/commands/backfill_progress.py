"""How a backfill shows its progress: a bar on a terminal, lines elsewhere, JSON for programs.

All of it goes to standard error; standard output has the result alone.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deadpan.core.logs import shown

if TYPE_CHECKING:
    from typing import Self

    from tasks.intake.backfill import Progress

LINE_SECONDS = 10.0
"""Without a terminal, how often a line of progress comes."""

NAMED = 20
"""The first skipped lines that are named; the others are only counted."""


def shown_progress(unit: str, *, as_json: bool) -> Lines:
    """The way that suits standard error: use it as a context manager.

    Args:
        unit: what the source's ids are counted in: line or row.
    """
    if as_json:
        return JsonLines(unit)
    return Bar(unit) if sys.stderr.isatty() else Lines(unit)


class Lines:
    """A line now and then."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._skipped = 0
        self._next_at = time.monotonic() + LINE_SECONDS
        self._pause: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Show nothing more."""

    def tell(self, progress: Progress) -> None:
        """Show progress; may be called as often as you like."""
        now = time.monotonic()
        begins_to_wait = progress.pause is not None and self._pause is None
        self._pause = progress.pause
        if now >= self._next_at or begins_to_wait:
            self._next_at = now + LINE_SECONDS
            self.write(progress)

    def skipped(self, number: int, why: str) -> None:
        """Name a line that is not pushed."""
        self._skipped += 1
        if self._skipped <= NAMED:
            self.name(number, why)
        if self._skipped == NAMED:
            self.say("further ones are only counted")

    def name(self, number: int, why: str) -> None:
        """Say why a line is skipped."""
        self.say(f"{self._unit} {number} skipped: {shown(why)}")

    def say(self, text: str) -> None:
        """Write a line."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def write(self, progress: Progress) -> None:
        """Write a line of progress."""
        self.say(f"{time.strftime('%H:%M:%S')}  {in_words(progress)}")


class JsonLines(Lines):
    """The same for programs."""

    def name(self, number: int, why: str) -> None:
        """Say why a line is skipped."""
        self._write({"skipped": {self._unit: number, "why": why}})

    def say(self, text: str) -> None:
        """Write a note."""
        self._write({"note": text})

    def write(self, progress: Progress) -> None:
        """Write progress."""
        self._write({"at": round(time.time(), 1), **asdict(progress)})

    def _write(self, told: dict[str, Any]) -> None:
        super().say(json.dumps(told))


class Bar(Lines):
    """A bar that moves."""

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(unit)
        self._bar = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.fields[words]}", markup=False),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, words="")
        self._bar.start()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def tell(self, progress: Progress) -> None:
        """Move the bar."""
        total = None if progress.fraction is None else 1.0
        self._bar.update(
            self._task, total=total, completed=progress.fraction or 0.0, words=in_words(progress)
        )

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        from rich.text import Text

        self._bar.console.print(Text(text))


def in_words(progress: Progress) -> str:
    """Progress in one line."""
    words = f"{progress.before + progress.pushed:,} pushed"
    if progress.fraction is not None:
        words += f" ({progress.fraction:.1%})"
    if progress.seconds > 0:
        words += f", {progress.pushed / progress.seconds:,.0f}/s"
    if progress.left_seconds is not None:
        minutes, seconds = divmod(round(progress.left_seconds), 60)
        words += f", {minutes // 60}:{minutes % 60:02}:{seconds:02} left"
    if progress.pause:
        words += f"; paused: {shown(progress.pause)}"
    return words
