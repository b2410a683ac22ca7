"""What a moderator had to look at this hour: shown to them alone, and kept for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Connection, Engine, delete, func, select

from storage.base.database import insert, transaction
from storage.people.moderators import Moderator
from storage.tables import exposures

Kind = Literal["negative", "picture"]
#: From here on a post counts as negative.
NEGATIVE: Final = 0.5
#: A break is suggested after so many, unless a moderator says otherwise; 0 suggests none.
BREAK_AFTER: Final = 60
_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much it was since the beginning of the hour."""

    negative: int
    pictures: int
    break_after: int

    @property
    def suggests_a_break(self) -> bool:
        """Whether it is as much as the moderator wants in an hour."""
        return 0 < self.break_after <= self.negative + self.pictures


def note(
    database: Engine, moderator: Moderator, kind: Kind, subject: str, *, now: datetime | None = None
) -> None:
    """Counts something that a moderator sees, such as "flag 12", once an hour."""
    columns = exposures.c
    hour = _hour(now)
    this = (
        columns.moderator_id == moderator.id,
        columns.hour == hour,
        columns.kind == kind,
        columns.subject == subject[:80],
    )
    # Read first: SQLite has one writer at a time, and most looks are repeated ones.
    with transaction(database, read_only=True) as connection:
        if connection.execute(select(columns.hour).where(*this)).one_or_none() is not None:
            return
    with transaction(database) as connection:
        connection.execute(
            insert(connection, exposures)
            .values(moderator_id=moderator.id, hour=hour, kind=kind, subject=subject[:80])
            .on_conflict_do_nothing()
        )
        # Everybody's: those who have left never write again.
        connection.execute(delete(exposures).where(columns.hour < hour - _KEPT))


def this_hour(
    connection: Connection, moderator: Moderator, *, now: datetime | None = None
) -> Exposure:
    """Returns what a moderator saw since the beginning of the hour."""
    columns = exposures.c
    rows = connection.execute(
        select(columns.kind, func.count())
        .where(columns.moderator_id == moderator.id, columns.hour == _hour(now))
        .group_by(columns.kind)
    )
    counted = {kind: int(number) for kind, number in rows}
    after = moderator.settings.get("break_after", BREAK_AFTER)
    return Exposure(counted.get("negative", 0), counted.get("picture", 0), int(after))


def _hour(now: datetime | None) -> datetime:
    moment = now if now is not None else datetime.now(UTC)
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
