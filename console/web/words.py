"""Plain words for what the tables hold: why a post was flagged, and how long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

_WHOSE: Final = {
    "": "words and pictures together",
    "text_alone": "the words alone",
    "image_alone": "the pictures alone",
}
_BETWEEN: Final = {
    "disagreement": "Disagreement between words and pictures",
    "opposition": "Opposition between words and pictures (one happy, one not)",
    "degraded": "Share of pictures unavailable",
    "language": "Language of the post",
}
#: True of a post or not: no number says more.
_SO: Final = {
    "unread": "Part of the post was not read",
    "unlearnt": "The model never learnt the post's language",
}
#: Of the words of a post, whatever pictures it has.
_OF_WORDS: Final = {"offensive": "Offensiveness", "hateful": "Hatefulness"}
_FIRES: Final = {">=": "at {} or more", "<=": "at {} or less", ">": "above {}", "<": "below {}"}
DONE: Final = {
    "approve": "approved",
    "remove": "removed",
    "escalate": "escalated",
    "skip": "skipped",
    "undo": "undone",
}
#: Rules of the policy that ships whose names alone say too little.
_RULES: Final = {"unseen": "Picture unavailable"}
LEVELS: Final = 3
#: What made a flag likely to be removed, as the learned order calls it; all else is a rule.
_BECAUSE: Final = {
    "scores": "its scores",
    "words": "its words",
    "pictures": "its pictures",
    "what could not be read": "what could not be read",
    "language": "its language",
    "priority": "its priority",
    "author": "its author's record",
}
_HARDLY_AHEAD: Final = 0.05
#: Names that are no longer than this are shown whole in lists.
_WHOLE: Final = 40
_EXCERPT: Final = 240


def score_words(name: str) -> str:
    """A score by what it says: "Sarcasm of the words alone"."""
    if known := _BETWEEN.get(name) or _SO.get(name):
        return known
    read_out, label = _split(name)
    said = _OF_WORDS.get(label) or (
        "Sarcasm" if label == "sarcasm" else f"{label.capitalize()} sentiment"
    )
    return f"{said} of {_WHOSE.get(read_out, read_out)}"


def read_by(name: str) -> str:
    """What a score looks at: "together", "text_alone" or "image_alone"."""
    return _split(name)[0] or "together"


def _split(name: str) -> tuple[str, str]:
    """What was read, empty for both together; and the score."""
    head, _, label = name.rpartition(".")
    read_out = "text_alone" if label in _OF_WORDS else head.removesuffix("sentiment").rstrip(".")
    return read_out, label


def condition_words(condition: Mapping[str, Any]) -> str:
    """Why a condition held: score, value, threshold."""
    score = score_words(str(condition.get("score", "?")))
    value, threshold = condition.get("value"), condition.get("threshold")
    if condition.get("score") == "language":
        fires = "for this one" if value == threshold else f"for others than {threshold}"
        return f"{score} is {value}; the rule fires {fires}"
    if condition.get("score") in _SO and value == 1:
        return score
    if not isinstance(value, int | float) or not isinstance(threshold, int | float):
        return f"{score} met its condition"
    fires = _FIRES.get(str(condition.get("comparison")), "at {}").format(f"{threshold:.2f}")
    return f"{score} is {value:.2f}; the rule fires {fires}"


def score_brief(reason: Mapping[str, Any]) -> str:
    """The score that a tag shows beside its rule, such as ".83": of the rule's first condition that
    asks for so much or more; empty where none does, or where no number says more."""
    for condition in reason.get("conditions") or ():
        value = condition.get("value")
        if (
            condition.get("comparison") in (">=", ">")
            and condition.get("score") not in _SO
            and isinstance(value, int | float)
        ):
            return f"{value:.2f}".removeprefix("0")
    return ""


def asks_for(score: str, comparison: str, threshold: float | str) -> str:
    """What a condition of a rule asks for: "Sarcasm of the words alone is at 0.70 or more"."""
    if isinstance(threshold, str):
        return f"{score_words(score)} is {'not ' if comparison == '!=' else ''}{threshold}"
    if score in _SO and comparison == ">=" and threshold > 0:
        return score_words(score)
    return f"{score_words(score)} is {_FIRES[comparison].format(f'{threshold:.2f}')}"


def thresholds(reasons: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Where rules that fired begin, by what was read ("together", "text_alone", "image_alone") and
    score ("negative", "sarcasm", "offensive", "hateful"); the lowest where several ask for the same
    score."""
    found: dict[str, dict[str, float]] = {"together": {}, "text_alone": {}, "image_alone": {}}
    for condition in (c for reason in reasons for c in reason.get("conditions") or ()):
        read_out, label = _split(str(condition.get("score", "")))
        lines, threshold = found.get(read_out or "together"), condition.get("threshold")
        if lines is None or label not in ("negative", "sarcasm", *_OF_WORDS):
            continue
        if isinstance(threshold, int | float):
            lines[label] = min(float(threshold), lines.get(label, 1.0))
    return found


def rule_words(rule: str) -> str:
    """A rule's name for people."""
    return _RULES.get(rule) or rule.replace("-", " ").replace("_", " ").capitalize()


def brief(name: str) -> str:
    """A name as lists show it: whole, or its beginning and its end, by which ids of one platform
    are told apart, 40 characters in all."""
    if len(name) <= _WHOLE:
        return name
    end = _WHOLE // 2
    return f"{name[: _WHOLE - end - 1]}…{name[-end:]}"


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1].rstrip() + "…"


def marked(text: str, words: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Cuts a text into pieces, each with how much it moved the score.

    Args:
        words: of an explanation, in the order of the text.

    Returns:
        pieces with -3 (moved it down most) to 3 (moved it up most), 0 for the rest.
    """
    most = max((abs(float(word.get("effect", 0))) for word in words), default=0.0)
    pieces: list[tuple[str, int]] = []
    at = 0
    for word in words:
        start, end = int(word.get("start", 0)), int(word.get("end", 0))
        if not at <= start < end <= len(text):
            continue
        if text[at:start]:
            pieces.append((text[at:start], 0))
        pieces.append((text[start:end], level(float(word.get("effect", 0)), most)))
        at = end
    if text[at:]:
        pieces.append((text[at:], 0))
    return pieces


def apart(pieces: Sequence[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The post's own words, and those that were read in its pictures.

    Args:
        pieces: of the text as the model read it, where a line break stands between the two; a
            prepared text holds no other.
    """
    for n, (piece, moved) in enumerate(pieces):
        own, found, read = piece.partition("\n")
        if found:
            sides = [*pieces[:n], (own, moved)], [(read, moved), *pieces[n + 1 :]]
            first, second = ([each for each in side if each[0]] for side in sides)
            return first, second
    return list(pieces), []


def level(effect: float, most: float) -> int:
    """-3 to 3: an effect as a share of the strongest one."""
    if most < 0.01:  # a hundredth moves nothing that a person would notice
        return 0
    return round(LEVELS * effect / most)


def placed(placement: Mapping[str, Any] | None, *, chance: bool = False) -> str:
    """Why a flag stands where it stands in the queue, in a sentence; empty where its age says it.

    Args:
        chance: whether to say how likely it is removed: whoever decides should not be told.
    """
    if not placement:
        return ""
    hours = float(placement["ahead_hours"])
    ahead = f"{duration(hours * 3600)} ahead of its age"
    likely = f" ({placement['chance']:.0%} likely)" if chance else ""
    if placement["how"] == "random":
        why = "by chance, as some are, so that the learned order can be measured"
        return f"Placed {ahead} {why}{likely}."
    if hours < _HARDLY_AHEAD:
        return f"Placed by its age: flags like this one are seldom removed{likely}."
    because = " and ".join(_BECAUSE.get(each) or _of_rule(each) for each in placement["because"])
    said = f", for {because}" if because else ""
    return f"Placed {ahead}: moderators remove flags like this one more often{likely}{said}."


def _of_rule(reason: str) -> str:
    return f"the rule {rule_words(reason.removeprefix('rule ')).lower()}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    if moment is None:
        return "never"
    seconds = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "just now"


def due(moment: datetime, now: datetime) -> str:
    """How long until then, or how late it is, in the largest unit that fits: "due in 3 h", "2 h
    overdue".
    """
    late = moment <= now
    lasts = ago(moment, now) if late else ago(now, moment)
    lasts = "1 min" if lasts == "just now" else lasts
    return f"{lasts} overdue" if late else f"due in {lasts}"


def stamp(moment: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} d"
