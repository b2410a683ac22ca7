"""Are scores and flags of this week like those of the four weeks before?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean
from typing import Final

from sqlalchemy import Connection, select

from storage import tables
from storage.judging.queries import in_parts
from storage.reports.judged import id_at
from storage.reports.statistics import mann_whitney

#: Days of this week, and of the weeks before.
RECENT, BASELINE = 7, 28
#: Verdicts read of each day; reading 10,500 takes a quarter of a second, however many there are.
A_DAY: Final = 300
#: A day with fewer posts says little, and is left out; so many days have to be left for a test.
_ENOUGH_POSTS, _ENOUGH_DAYS = 20, (4, 8)
#: Below it a shift is called one. Several measures are tested, so 0.05 would cry wolf.
ALARM: Final = 0.01
MEASURES: Final = ("flagged", "negative", "sarcasm", *tables.OF_WORDS)


@dataclass(frozen=True, slots=True)
class Drift:
    """Of a score its mean, of flags their share of posts, by day.

    Attributes:
        measure: `flagged`, or the score.
        days: of the last 35 days, the oldest first; each ends at the hour of now. None of one with
            too few posts.
        recent, before: the means of the last 7 days and of the 28 days before.
        p_value: of a rank test of these days against those; None for too few.
    """

    measure: str
    days: Sequence[float | None]
    recent: float | None
    before: float | None
    p_value: float | None

    @property
    def shifted(self) -> bool:
        """Whether chance alone would seldom do that."""
        return self.p_value is not None and self.p_value < ALARM

    @classmethod
    def of(cls, measure: str, days: Sequence[float | None]) -> Drift:
        """From the days, the oldest first.

        Days are compared, not posts: posts of a day have much in common, and thousands of them
        would call any difference one. Whole weeks are, so that every weekday is in both.
        """
        recent, before = _known(days[-RECENT:]), _known(days[:-RECENT])
        enough = len(recent) >= _ENOUGH_DAYS[0] and len(before) >= _ENOUGH_DAYS[1]
        return cls(
            measure,
            days,
            mean(recent) if recent else None,
            mean(before) if before else None,
            mann_whitney(recent, before) if enough else None,
        )


def _known(days: Iterable[float | None]) -> list[float]:
    return [each for each in days if each is not None]


def drift(connection: Connection, *, now: datetime, a_day: int = A_DAY) -> list[Drift]:
    """Compares a random sample of each day's verdicts; the same one when asked for the same time.

    Verdicts are drawn by their ids, so that no table is read through; see `judged.sample`.
    """
    columns, flags = tables.verdicts.c, tables.flags.c
    is_flagged = (
        select(flags.id).where(flags.verdict_id == columns.id, flags.inclusion.is_(None)).exists()
    )
    number = RECENT + BASELINE
    by_day: list[dict[str, float | None]] = []
    chance = random.Random(now.isoformat())  # noqa: S311 - hides nothing
    for back in range(number, 0, -1):
        within = (
            columns.created_at > now - timedelta(days=back),
            columns.created_at <= now - timedelta(days=back - 1),
        )
        first = id_at(connection, *within)
        last = id_at(connection, *within, last=True)
        ids = range(0) if first is None or last is None else range(first, last + 1)
        drawn = ids if len(ids) <= a_day else sorted(chance.sample(ids, a_day))
        rows = [
            row
            for part in in_parts(drawn)
            for row in connection.execute(
                select(is_flagged, *(columns[name] for name in MEASURES[1:])).where(
                    columns.id.in_(part)
                )
            )
        ]
        values = zip(*rows, strict=True) if rows else ((),) * len(MEASURES)
        by_day.append(dict(zip(MEASURES, map(_mean, values), strict=True)))
    found = [Drift.of(name, [day[name] for day in by_day]) for name in MEASURES]
    return [each for each in found if each.recent is not None or each.before is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return mean(map(float, known)) if len(known) >= _ENOUGH_POSTS else None
