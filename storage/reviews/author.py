"""What is known of an author: their flags, and what became of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from storage import tables
from storage.flags import worklist
from storage.flags.worklist import Flag
from storage.judging.queries import in_parts
from storage.people.moderators import Moderator
from storage.reviews import reviews

#: A record counts the newest flags only, so that no author makes a page slow.
COUNTED: Final = 1000


@dataclass(frozen=True, slots=True)
class AuthorRecord:
    """The newest `COUNTED` flags of an author that somebody may see, counted.

    Attributes:
        flags: newest first, those of the page.
        counted: how many flags all numbers are of.
        is_all: whether these are all there are.
        hidden: flags that are hidden for a second look, and not counted.
        waiting: flags that wait for a human.
        decided: flags that a human decided; an erasure closes flags without a decision.
        removed: of these, how many posts were removed.
        appeals: decisions that were looked at again because somebody asked for it.
        overturned: of these, how many ended otherwise.
        first_flagged: when the oldest of these flags was opened.
    """

    author: str
    flags: list[Flag]
    counted: int
    is_all: bool
    hidden: int
    waiting: int
    decided: int
    removed: int
    appeals: int
    overturned: int
    first_flagged: datetime | None

    @property
    def share_removed(self) -> float | None:
        """Of the decided flags, how many posts were removed; None without any."""
        return self.removed / self.decided if self.decided else None


def read(
    connection: Connection,
    author: str,
    reader: Moderator,
    *,
    limit: int,
    before_id: int | None = None,
) -> AuthorRecord:
    """Counts an author's flags, and gives a page of them, those before a flag if it is named.

    What is hidden from the reader until they have given their own opinion counts nowhere: a number
    would tell it.
    """
    columns = tables.flags.c
    rows = connection.execute(
        select(columns.id, columns.state, columns.outcome, columns.opened_at)
        .where(columns.author == author)
        .order_by(columns.id.desc())
        .limit(COUNTED + 1)
    ).all()
    is_all, rows = len(rows) <= COUNTED, rows[:COUNTED]
    hidden: set[int] = set()
    for part in in_parts([row.id for row in rows]):
        hidden |= set(reviews.hidden_from(connection, reader, part))
    seen = [row for row in rows if row.id not in hidden]
    decided = [row.outcome for row in seen if row.state == "decided" and row.outcome is not None]
    appeals, overturned = _appeals(connection, [row.id for row in seen])
    shown = [row.id for row in seen if before_id is None or row.id < before_id][:limit]
    flags = {flag.id: flag for flag in worklist.many(connection, shown)} if shown else {}
    return AuthorRecord(
        author=author,
        flags=[flags[number] for number in shown if number in flags],
        counted=len(seen),
        is_all=is_all,
        hidden=len(hidden),
        waiting=sum(row.state in tables.UNCLOSED_STATES for row in seen),
        decided=len(decided),
        removed=decided.count("remove"),
        appeals=appeals,
        overturned=overturned,
        first_flagged=seen[-1].opened_at if seen else None,
    )


def _appeals(connection: Connection, flag_ids: Collection[int]) -> tuple[int, int]:
    """How many appeals of these flags were settled, and how many of them changed the decision."""
    columns = tables.reviews.c
    made = changed = 0
    for part in in_parts(flag_ids):
        rows = connection.execute(
            select(columns.outcome != columns.expected, func.count())
            .where(
                columns.flag_id.in_(part), columns.kind == "appeal", columns.outcome.is_not(None)
            )
            .group_by(columns.outcome != columns.expected)
        )
        for is_other, number in rows:
            made += number
            changed += number if is_other else 0
    return made, changed
