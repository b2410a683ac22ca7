"""What moved the score of a flag: work that waits, is taken for a while, and is settled.

A flag's row is written with the flag. Who explains takes a row for a while: if that process dies,
the row is due again, so none is lost. A row says of which verdict it is; what was found out about
another one, or is erased in the meantime, is dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    func,
    literal,
    literal_column,
    select,
    update,
)

from storage import tables
from storage.base.clock import moment
from storage.base.database import insert
from storage.base.text import MAX_ERROR_CHARACTERS, clean_json, clean_text
from storage.tables import ExplanationRow

_table: Final = tables.explanations
_columns: Final = _table.c

Work = Literal["wanted", "waiting"]


@dataclass(frozen=True, slots=True)
class NewExplanation:
    """A flag whose `score` is to be explained; see `ExplanationRow`."""

    flag_id: int
    verdict_id: int
    score: str
    model_version: str
    calibration_version: str
    priority: int


def add(connection: Connection, wanted: Sequence[NewExplanation], *, now: datetime) -> None:
    """Adds work in the transaction that writes the flags; a flag that is renewed begins anew."""
    if not wanted:
        return
    upsert = insert(connection, _table)
    rows = [
        {
            **{name: getattr(each, name) for name in NewExplanation.__slots__},
            "state": "pending",
            "wanted_at": None,
            "attempts": 0,
            "holder": None,
            "next_attempt_at": now,
            "explanation": None,
            "error": None,
            "created_at": now,
        }
        for each in sorted(wanted, key=lambda each: each.flag_id)
    ]
    renewed = {name: upsert.excluded[name] for name in rows[0] if name != "flag_id"}
    connection.execute(upsert.on_conflict_do_update(index_elements=["flag_id"], set_=renewed), rows)


@dataclass(frozen=True, slots=True)
class Taken:
    """A flag to be explained now; `attempts` counts this try.

    Attributes:
        is_wanted: whether somebody looks at the flag.
        verdict: None where it is not there any more.
    """

    flag_id: int
    verdict_id: int
    score: str
    attempts: int
    is_wanted: bool
    holder: str
    verdict: tables.Verdict | None


def due(connection: Connection, *, model_version: str, calibration_version: str) -> Work | None:
    """Whether there is something to explain for who has this model, and whether somebody looks at
    one of those flags."""
    pending = select(_columns.flag_id).where(
        *_is_due(connection, model_version, calibration_version)
    )
    if connection.execute(pending.where(_columns.wanted_at.is_not(None)).limit(1)).first():
        return "wanted"
    return "waiting" if connection.execute(pending.limit(1)).first() else None


def take(
    connection: Connection,
    work: Work,
    *,
    model_version: str,
    calibration_version: str,
    holder: str,
    seconds: float,
) -> Taken | None:
    """Takes a flag for so many seconds: of those that somebody looks at, who has waited longest; of
    others, the most urgent.

    Args:
        holder: at most 200 characters; no other process has the same.
    """
    statement = select(_columns.flag_id).where(
        *_is_due(connection, model_version, calibration_version)
    )
    if work == "wanted":
        statement = statement.where(_columns.wanted_at.is_not(None)).order_by(_columns.wanted_at)
    else:
        statement = statement.order_by(_columns.priority.desc(), _columns.flag_id)
    statement = statement.limit(1).with_for_update(skip_locked=True)
    number = connection.execute(statement).scalar()
    if number is None:
        return None
    row = connection.execute(
        update(_table)
        .where(_columns.flag_id == number)
        .values(
            attempts=_columns.attempts + 1,
            holder=holder,
            next_attempt_at=moment(connection, after_seconds=seconds),
        )
        .returning(_columns.verdict_id, _columns.score, _columns.attempts, _columns.wanted_at)
    ).one()
    verdict = connection.execute(
        select(tables.verdicts).where(tables.verdicts.c.id == row.verdict_id)
    ).first()
    return Taken(
        number,
        row.verdict_id,
        row.score,
        row.attempts,
        row.wanted_at is not None,
        holder,
        None if verdict is None else tables.Verdict(**verdict._mapping),
    )


def keep(connection: Connection, taken: Taken, *, seconds: float) -> bool:
    """Holds a flag for so many seconds more; False when it is not this holder's any more."""
    return _settle(
        connection, taken, {"next_attempt_at": moment(connection, after_seconds=seconds)}
    )


def explained(connection: Connection, taken: Taken, explanation: Mapping[str, Any] | None) -> bool:
    """Stores what was found, None where nothing can be said of the score; False when the flag was
    erased, renewed or taken by somebody else in the meantime, and then nothing."""
    told = None if explanation is None else clean_json(explanation)
    return _settle(
        connection, taken, {"state": "done", "explanation": told, "holder": None, "error": None}
    )


def failed(
    connection: Connection, taken: Taken, error: str, *, delay_seconds: float | None
) -> bool:
    """Stores why a flag was not explained; it is tried again after so many seconds, or never."""
    values: dict[str, Any] = {"holder": None, "error": clean_text(error, MAX_ERROR_CHARACTERS)}
    if delay_seconds is None:
        values["state"] = "failed"
    else:
        values["next_attempt_at"] = moment(connection, after_seconds=delay_seconds)
    return _settle(connection, taken, values)


def give_back(connection: Connection, taken: Taken, *, delay_seconds: float = 0.0) -> bool:
    """Leaves a flag to others as it was before: the try does not count."""
    again_at = moment(connection, after_seconds=delay_seconds)
    values = {"attempts": _columns.attempts - 1, "holder": None, "next_attempt_at": again_at}
    return _settle(connection, taken, values)


def want(connection: Connection, flag_id: int) -> None:
    """Notes that somebody looks at a flag that is not explained yet: it comes first."""
    connection.execute(
        update(_table)
        .where(_columns.flag_id == flag_id, _is_pending(), _columns.wanted_at.is_(None))
        .values(wanted_at=moment(connection))
    )


def of_flag(connection: Connection, flag_id: int, verdict_id: int) -> ExplanationRow | None:
    """Returns what is known of a flag's explanation for its verdict; None where nobody asked for
    one, as before flags were explained afterwards."""
    row = connection.execute(
        select(_table).where(_columns.flag_id == flag_id, _columns.verdict_id == verdict_id)
    ).first()
    return None if row is None else ExplanationRow(**row._mapping)


def give_up(
    connection: Connection, *, model_versions: Collection[str], older_than_seconds: float
) -> int:
    """Ends what only other models could explain, and returns how many flags that were.

    Args:
        model_versions: those that somebody has.
    """
    said = (
        literal("the model that judged it, ")
        + _columns.model_version
        + literal(", is run by no worker any more")
    )
    return connection.execute(
        update(_table)
        .where(
            _is_pending(),
            _columns.model_version.not_in(sorted(model_versions)),
            _columns.next_attempt_at <= moment(connection, after_seconds=-older_than_seconds),
        )
        .values(state="failed", holder=None, error=said)
    ).rowcount


def forget(connection: Connection, flag_ids: Any) -> None:
    """Removes what is known of these flags' explanations, and the work that waits; `flag_ids` is
    whatever SQL's IN takes."""
    connection.execute(delete(_table).where(_columns.flag_id.in_(flag_ids)))


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many flags are still to be explained, and how old the oldest is."""

    pending: int
    oldest_age_seconds: float


def backlog(connection: Connection) -> Backlog:
    """Counts what waits."""
    now, pending, oldest = connection.execute(
        select(moment(connection).label("now"), func.count(), func.min(_columns.created_at))
        .select_from(_table)
        .where(_is_pending())
    ).one()
    age_seconds = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Backlog(int(pending), age_seconds)


def _is_pending() -> ColumnElement[bool]:
    # As a literal: SQLite finds partial indexes by nothing else.
    pending: ColumnElement[bool] = _columns.state == literal_column("'pending'")
    return pending


def _is_due(
    connection: Connection, model_version: str, calibration_version: str
) -> list[ColumnElement[bool]]:
    return [
        _is_pending(),
        _columns.next_attempt_at <= moment(connection),
        _columns.model_version == model_version,
        _columns.calibration_version == calibration_version,
    ]


def _settle(connection: Connection, taken: Taken, values: Mapping[str, Any]) -> bool:
    """Changes the row of a flag that is still this holder's, and of the same verdict."""
    mine = (
        _columns.flag_id == taken.flag_id,
        _columns.verdict_id == taken.verdict_id,
        _columns.holder == taken.holder,
        _is_pending(),
    )
    return connection.execute(update(_table).where(*mine).values(**values)).rowcount > 0
