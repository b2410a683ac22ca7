"""Changes to a text, and where each character of it stood before them. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Edit = tuple[int, int, str]
"""First character, after the last character, and what stands there instead."""

Find = Callable[[str], Sequence[Edit]]
"""Finds changes to make in a text: in order, none over another."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of change; `kind` is of what is replaced as a whole, such as "link", and empty where
    letters stay letters."""

    find: Find
    kind: str = ""


class Text:
    """A text that is changed. It knows nothing of what it was, and so costs little."""

    def __init__(self, text: str) -> None:
        self.text = text

    def apply(self, edits: Sequence[Edit], kind: str = "") -> None:
        """Make changes, in order, none over another; `kind` is that of their `Rule`."""
        del kind
        pieces: list[str] = []
        at = 0
        for start, end, new in edits:
            pieces += (self.text[at:start], new)
            at = end
        pieces.append(self.text[at:])
        self.text = "".join(pieces)


class TracedText(Text):
    """A text that is changed, and knows of each character where it stood at first.

    Attributes:
        starts, ends: of each character of `text`, first and after the last character of the
            original that it stands for. Neither ever goes back.
        replaced: of the original, what was replaced as a whole: first character, after the last
            character, and the kind.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.starts = list(range(len(text)))
        self.ends = list(range(1, len(text) + 1))
        self.replaced: list[tuple[int, int, str]] = []

    def apply(self, edits: Sequence[Edit], kind: str = "") -> None:
        """Make changes; see `Text.apply`."""
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for start, end, new in edits:
            starts += self.starts[at:start]
            ends += self.ends[at:start]
            if end > start:
                first, last = self.starts[start], self.ends[end - 1]
            else:  # what is put in stands for nothing
                first = last = ends[-1] if ends else 0
            starts += [first] * len(new)
            ends += [last] * len(new)
            at = end
            if kind and end > start:
                self.replaced.append((first, last, kind))
        self.starts = starts + self.starts[at:]
        self.ends = ends + self.ends[at:]
        super().apply(edits)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of the text stood at first; an empty part stands nowhere: (0, 0)."""
        if not 0 <= start < end <= len(self.text):
            return 0, 0
        return self.starts[start], max(self.ends[start:end])


def run(text: Text, rules: Iterable[Rule]) -> None:
    """Apply rules, one after the other."""
    for rule in rules:
        if edits := rule.find(text.text):
            text.apply(edits, rule.kind)
