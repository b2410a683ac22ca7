"""A sample of what was judged and decided, small enough to be judged again while somebody waits."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select

from storage import tables
from storage.judging.queries import in_parts
from storage.tables import Verdict

#: Reading and judging 20,000 verdicts takes about a second, however many there are.
FLAGS: Final = 5_000
UNFLAGGED: Final = 15_000


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict of the sample.

    Attributes:
        stands_for: verdicts that it stands for.
        flag_id: of its flag, or of the look at it; None of an unflagged one.
        removed: what was decided; None where nothing was.
    """

    verdict: Verdict
    stands_for: float
    flag_id: int | None = None
    removed: bool | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What was judged in a time.

    Attributes:
        flags: a random sample of the flags that rules opened.
        unflagged: a random sample of the verdicts that no rule flagged.
        looks: those unflagged ones that were drawn to be looked at.
        seconds_each: mean time of a decision; None where none is known.
    """

    since: datetime
    until: datetime
    flags: list[Judged]
    unflagged: list[Judged]
    looks: list[Judged]
    seconds_each: float | None

    @property
    def days(self) -> float:
        """How long it was."""
        return (self.until - self.since).total_seconds() / 86_400


def sample(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    flags: int = FLAGS,
    unflagged: int = UNFLAGGED,
) -> Sample:
    """Returns the sample of this time; the same one when asked again for the same time.

    Verdicts and flags are drawn by their ids, which are given out one after the other, so that no
    table is read through: each of the drawn ids that is one stands for as many as lie between two
    of them.
    """
    chance = random.Random(f"{since.isoformat()} {until.isoformat()}")  # noqa: S311 - hides nothing
    columns, made = tables.flags.c, tables.decisions.c
    within = (columns.opened_at >= since, columns.opened_at <= until)
    opened = _ids(connection, columns.id, columns.opened_at, since, until)
    taken = opened if len(opened) <= flags else sorted(chance.sample(opened, flags))
    looks = connection.execute(
        select(columns.id).where(*within, columns.inclusion.is_not(None)).limit(flags)
    ).scalars()
    seconds = connection.execute(
        select(func.avg(made.seconds_taken)).where(
            made.created_at >= since, made.action.in_(("approve", "remove"))
        )
    ).scalar()
    return Sample(
        since,
        until,
        _of_flags(connection, taken, len(opened) / max(1, len(taken))),
        _unflagged(connection, since, until, unflagged, chance),
        _of_flags(connection, list(looks), None),
        None if seconds is None else float(seconds),
    )


def _of_flags(connection: Connection, numbers: Sequence[int], each: float | None) -> list[Judged]:
    """Flags among these ids, each standing for `each`; looks, where that is None."""
    columns = tables.flags.c
    found = []
    for part in in_parts(numbers):
        rows = connection.execute(
            select(columns.id, columns.outcome, columns.inclusion, tables.verdicts)
            .join(tables.verdicts, tables.verdicts.c.id == columns.verdict_id)
            .where(
                columns.id.in_(part),
                columns.inclusion.is_(None) if each is not None else columns.inclusion.is_not(None),
            )
        )
        for number, outcome, inclusion, *values in rows:
            removed = None if outcome is None else outcome == "remove"
            stands_for = 1 / inclusion if each is None else each
            found.append(Judged(_verdict(values), stands_for, number, removed))
    return found


def _unflagged(
    connection: Connection, since: datetime, until: datetime, number: int, chance: random.Random
) -> list[Judged]:
    columns = tables.verdicts.c
    ids = _ids(connection, columns.id, columns.created_at, since, until)
    drawn = ids if len(ids) <= number else sorted(chance.sample(ids, number))
    flagged = tables.flags.alias("flagged")
    is_flagged = (
        select(flagged.c.id)
        .where(flagged.c.verdict_id == columns.id, flagged.c.inclusion.is_(None))
        .exists()
    )
    found = []
    for part in in_parts(drawn):
        rows = connection.execute(select(tables.verdicts).where(columns.id.in_(part), ~is_flagged))
        found += [Judged(_verdict(row), len(ids) / len(drawn)) for row in rows]
    return found


def _verdict(values: Iterable[Any]) -> Verdict:
    return Verdict(**dict(zip(tables.verdicts.c.keys(), values, strict=True)))


def id_at(connection: Connection, *where: ColumnElement[bool], last: bool = False) -> int | None:
    """Returns the id of the first or last verdict by time."""
    created, id_ = tables.verdicts.c.created_at, tables.verdicts.c.id
    return _first_id(connection, id_, created, *where, last=last)


def _ids(
    connection: Connection,
    id_: ColumnElement[int],
    at: ColumnElement[datetime],
    since: datetime,
    until: datetime,
) -> range:
    """From the first id of a time to the last, read from the index of that time."""
    first = _first_id(connection, id_, at, at >= since)
    last = _first_id(connection, id_, at, at <= until, last=True)
    return range(0) if first is None or last is None else range(first, last + 1)


def _first_id(
    connection: Connection,
    id_: ColumnElement[int],
    at: ColumnElement[datetime],
    *where: ColumnElement[bool],
    last: bool = False,
) -> int | None:
    """The id of the first or last row by time; rows of a chunk have the same time, so that their
    ids decide."""
    order = [each.desc() if last else each for each in (at, id_)]
    return connection.execute(select(id_).where(*where).order_by(*order).limit(1)).scalar()
