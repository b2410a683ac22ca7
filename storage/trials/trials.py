"""What was tried: a challenger beside a champion, and the posts that both judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, select

from storage import tables
from storage.tables import OF_WORDS, SCORES, SENTIMENTS, YES, challenger_verdicts

_mine = challenger_verdicts.c
_theirs = tables.verdicts.c

ANSWERS: Final = {
    "sentiment": SENTIMENTS,
    "sarcasm": ("literal", "sarcastic"),
    "offensive": ("inoffensive", "offensive"),
    "hateful": ("not hateful", "hateful"),
}
"""What a model is asked, and what it may answer. All but the first are yes (from `YES` on) or no,
and the last answer is yes."""

_SCORES: Final = (*SCORES, *OF_WORDS)


@dataclass(frozen=True, slots=True)
class Trial:
    """One challenger beside one champion, under one policy."""

    champion: str
    champion_calibration: str
    challenger: str
    challenger_calibration: str
    policy: str
    posts: int
    first: datetime
    last: datetime


def trials(
    connection: Connection,
    *,
    champion: str = "",
    challenger: str = "",
    since: datetime | None = None,
) -> list[Trial]:
    """Returns trials, the latest first; only of these model versions, and since then, if given."""
    names = (
        _mine.champion_model_version,
        _mine.champion_calibration_version,
        _mine.model_version,
        _mine.calibration_version,
        _mine.policy_version,
    )
    last = func.max(_mine.created_at, type_=_mine.created_at.type)
    statement = (
        select(*names, func.count(), func.min(_mine.created_at, type_=last.type), last)
        .group_by(*names)
        .order_by(func.max(_mine.id).desc())
    )
    if champion:
        statement = statement.where(_mine.champion_model_version == champion)
    if challenger:
        statement = statement.where(_mine.model_version == challenger)
    if since is not None:
        statement = statement.where(_mine.created_at >= since)
    return [Trial(*row) for row in connection.execute(statement)]


def pairs(trial: Trial, since: datetime | None, *more: Any) -> Select[Any]:
    """A statement for the posts of a trial, with the scores and rules of both models, and `more`
    columns of `verdicts` or of what is joined.
    """
    statement = (
        select(
            _mine.post_id,
            _mine.rules,
            _mine.champion_rules,
            *(_mine[name] for name in _SCORES),
            *(_theirs[name].label(f"champion_{name}") for name in _SCORES),
            *more,
        )
        .select_from(challenger_verdicts)
        .join(tables.verdicts, _same_post())
        .where(
            _mine.champion_model_version == trial.champion,
            _mine.champion_calibration_version == trial.champion_calibration,
            _mine.model_version == trial.challenger,
            _mine.calibration_version == trial.challenger_calibration,
            _mine.policy_version == trial.policy,
        )
    )
    return statement if since is None else statement.where(_mine.created_at >= since)


def _same_post() -> ColumnElement[bool]:
    return and_(
        _theirs.post_id == _mine.post_id,
        _theirs.content_hash == _mine.content_hash,
        _theirs.model_version == _mine.champion_model_version,
        _theirs.calibration_version == _mine.champion_calibration_version,
        _theirs.policy_version == _mine.policy_version,
    )


def scores_of(row: Row[Any], prefix: str = "") -> dict[str, float]:
    """Of a row of `pairs`: the challenger's, or the champion's with the prefix `champion_`; without
    those that the model did not give.
    """
    found = {name: getattr(row, prefix + name) for name in _SCORES}
    return {name: float(value) for name, value in found.items() if value is not None}


def answer(scores: Mapping[str, float], question: str) -> int | None:
    """The place in `ANSWERS` of what the scores say; None where they say nothing."""
    if question == "sentiment":
        return max(range(3), key=lambda index: scores[SENTIMENTS[index]])
    return int(scores[question] >= YES) if question in scores else None


def sentiment_in_sql(scores: Mapping[str, ColumnElement[float]]) -> ColumnElement[int]:
    """As `answer`, of the sentiment."""
    negative, neutral, positive = (scores[name] for name in SENTIMENTS)
    return case(
        (and_(negative >= neutral, negative >= positive), 0), (neutral >= positive, 1), else_=2
    )
