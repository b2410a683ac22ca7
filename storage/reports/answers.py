"""What moderators answered to "Was the model right?", and how probable the model had said it was.

They answer if they want to, and of most posts they see what the model said; so this is what the
people who answered found, of flags, and no measure of all posts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from storage import tables
from storage.flags.decided import is_undone
from storage.reports.forecast import hour_of
from storage.reports.statistics import Share
from storage.tables import decisions, flag_rules, verdicts

#: Scores are put together in so many groups of the same width.
BINS: Final = 10
#: What is asked: which column says whether the model was right.
QUESTIONS: Final[Mapping[str, Any]] = {
    "sentiment": decisions.c.agrees_sentiment,
    "sarcasm": decisions.c.agrees_sarcasm,
    "offensive": decisions.c.agrees_offensive,
}
#: Of which score people say whether it is so.
_SAID: Final[Mapping[str, ColumnElement[bool]]] = {
    "negative": decisions.c.sentiment == "negative",
    "sarcasm": decisions.c.sarcastic,
    "offensive": decisions.c.offensive,
}
#: Hours of a week; and from the Monday before 1970 until it began.
_WEEK, _MONDAY = 168, 72
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Right:
    """How often the model was right, by question; one that nobody answered is left out.

    Attributes:
        name: of a rule or a language; the day (UTC) a week begins with; empty for everything.
    """

    name: str
    shares: Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Bin:
    """Posts with a score from `low` on, and of how many of them people said that it is so.

    Attributes:
        score: their mean.
    """

    low: float
    score: float
    share: Share


@dataclass(frozen=True, slots=True)
class Curve:
    """A score against what people said, in bins; and both over all of them.

    Attributes:
        name: `negative`, `sarcasm` or `offensive`.
    """

    name: str
    bins: Sequence[Bin]
    score: float
    share: Share

    @property
    def bias(self) -> int:
        """1 if the model says it too often, -1 if too seldom, 0 if that is not known."""
        return (self.score > self.share.high) - (self.score < self.share.low)

    @classmethod
    def of(cls, name: str, bins: Sequence[Bin]) -> Curve:
        """From its bins; at least one."""
        n = sum(each.share.n for each in bins)
        score = sum(each.score * each.share.n for each in bins) / n
        return cls(name, bins, score, Share.of(sum(each.share.count for each in bins), n))


@dataclass(frozen=True, slots=True)
class Answers:
    """All of it, and of how many decisions at least one question was answered."""

    decisions: Share
    everything: Right
    rules: Sequence[Right]
    languages: Sequence[Right]
    weeks: Sequence[Right]
    curves: Sequence[Curve]


def answers(connection: Connection, *, since: datetime) -> Answers:
    """Returns what was answered with decisions since then that nobody took back."""
    made, flags = decisions.c, tables.flags.c
    standing = and_(made.created_at >= since, made.action != "undo", ~is_undone())
    answered = or_(*(each.is_not(None) for each in QUESTIONS.values()))
    week = (hour_of(connection, made.created_at) + _MONDAY) // _WEEK
    of_flags = decisions.join(tables.flags, flags.id == made.flag_id)
    by_week = _counted(connection, week, decisions, standing, answered)
    total, some = connection.execute(
        select(func.count(), func.count().filter(answered)).where(standing)
    ).one()
    return Answers(
        Share.of(int(some), int(total)),
        Right("", _shares([counts for _, counts in by_week])),
        _rights(
            _counted(
                connection,
                flag_rules.c.rule,
                decisions.join(flag_rules, flag_rules.c.flag_id == made.flag_id),
                standing,
                answered,
            )
        ),
        _rights(_counted(connection, flags.language, of_flags, standing, answered)),
        [
            Right(
                str((_EPOCH + timedelta(hours=number * _WEEK - _MONDAY)).date()), _shares([counts])
            )
            for number, counts in sorted(by_week)
        ],
        [
            Curve.of(name, bins)
            for name in _SAID
            if (bins := _bins(connection, name, standing, answered))
        ],
    )


def _counted(
    connection: Connection, by: ColumnElement[Any], of: Any, *which: ColumnElement[bool]
) -> list[tuple[Any, list[int]]]:
    """For each group and question how often the model was right, and how many answered."""
    numbers = [
        number
        for right in QUESTIONS.values()
        for number in (func.count().filter(right), func.count(right))
    ]
    group = by.label("name")
    rows = connection.execute(select(group, *numbers).select_from(of).where(*which).group_by(group))
    return [(name, list(map(int, counts))) for name, *counts in rows]


def _rights(counted: Sequence[tuple[Any, list[int]]]) -> list[Right]:
    """With their shares, those of which most is known first."""
    found = [Right(str(name), _shares([counts])) for name, counts in counted]
    return sorted(found, key=lambda each: (-max(s.n for s in each.shares.values()), each.name))


def _shares(counted: Sequence[Sequence[int]]) -> dict[str, Share]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for counts in counted:
        for place, name in enumerate(QUESTIONS):
            sums[name][0] += counts[2 * place]
            sums[name][1] += counts[2 * place + 1]
    return {name: Share.of(right, n) for name, (right, n) in sums.items() if n}


def _bins(connection: Connection, name: str, *which: ColumnElement[bool]) -> list[Bin]:
    score, said = verdicts.c[name], _SAID[name]
    # Not by a cast to a whole number, which rounds on one database and cuts on the other.
    number = case(*((score >= n / BINS, n) for n in range(BINS - 1, 0, -1)), else_=0).label("bin")
    rows = connection.execute(
        select(number, func.avg(score), func.count().filter(said), func.count())
        .select_from(decisions)
        .join(verdicts, verdicts.c.id == decisions.c.verdict_id)
        .where(*which, said.is_not(None), score.is_not(None))
        .group_by(number)
        .order_by(number)
    )
    return [Bin(low / BINS, float(mean), Share.of(int(so), int(n))) for low, mean, so, n in rows]
