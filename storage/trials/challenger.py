"""Storing what a challenger says, and forgetting it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, select

from storage.base.clock import moment
from storage.base.columns import stored
from storage.base.database import insert
from storage.base.text import clean_json
from storage.judging.values import NewVerdict
from storage.keeping import erasure
from storage.tables import VERDICT_KEY, challenger_verdicts

_columns = challenger_verdicts.c


@dataclass(frozen=True, slots=True)
class NewChallengerVerdict:
    """What a challenger said of a post.

    Args:
        verdict: as it would have been, were the challenger the champion. Its flag is not opened.
        rules: names of the rules that would have fired.
        champion_model_version, champion_calibration_version: who judged the same content.
        champion_rules: names of the rules that did fire.
    """

    verdict: NewVerdict
    rules: Sequence[str]
    champion_model_version: str
    champion_calibration_version: str
    champion_rules: Sequence[str]


def record(
    connection: Connection,
    verdicts: Iterable[NewChallengerVerdict],
    *,
    now: datetime | None = None,
) -> int:
    """Stores what a challenger said, and returns how much of it was new; it causes no flag and no
    event. What is there already stays as it is, and posts erased meanwhile are left out.
    """
    stamp = now if now is not None else datetime.now(UTC)
    given = {tuple(getattr(each.verdict, name) for name in VERDICT_KEY): each for each in verdicts}
    gone = erasure.erased(connection, {key[0] for key in given})
    # In the order of keys, so that two workers never deadlock.
    rows = [
        {
            **stored(challenger_verdicts, each.verdict),
            "champion_model_version": each.champion_model_version,
            "champion_calibration_version": each.champion_calibration_version,
            "rules": clean_json(list(each.rules)),
            "champion_rules": clean_json(list(each.champion_rules)),
            "created_at": stamp,
        }
        for key, each in sorted(given.items())
        if key[0] not in gone
    ]
    if not rows:
        return 0
    statement = (
        insert(connection, challenger_verdicts)
        .on_conflict_do_nothing(index_elements=VERDICT_KEY)
        .returning(_columns.id)
    )
    return len(connection.execute(statement, rows).all())


def forget(connection: Connection, *, days: float, limit: int = 1000) -> int:
    """Removes at most so many verdicts that are so old by the database's clock, the oldest first,
    and returns how many.
    """
    old = (
        select(_columns.id)
        .where(_columns.created_at < moment(connection, after_seconds=-86_400 * days))
        .order_by(_columns.created_at)
        .limit(limit)
    )
    return int(connection.execute(delete(challenger_verdicts).where(_columns.id.in_(old))).rowcount)
