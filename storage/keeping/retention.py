"""Retention: old data is removed a little at a time, so that nobody waits long for a lock.

Each function goes on from where the last call stopped; otherwise it would meet what has to stay (a
verdict with a flag, evidence of a post that was flagged again) over and over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Table,
    and_,
    delete,
    exists,
    or_,
    select,
    update,
)

from storage import tables
from storage.judging import explanations
from storage.judging.queries import in_parts
from storage.keeping.erasure import let_go
from storage.people import audit
from storage.reviews.reviews import has_not_lapsed
from storage.tables import (
    audit_log,
    comments,
    decisions,
    known_answers,
    review_votes,
    reviews,
    summonses,
)

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stopped."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Before:
    """What was over before these moments is removed, by the flag's queue, or `others` for queues
    that are not named; None keeps it for good.
    """

    others: datetime | None
    queues: Mapping[str, datetime | None] = field(default_factory=dict)

    @property
    def latest(self) -> datetime | None:
        """Nothing younger than this is removed."""
        moments = [each for each in (self.others, *self.queues.values()) if each is not None]
        return max(moments, default=None)

    def is_over(self, moment: ColumnElement[Any], queue: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether something of a queue may go, as a condition."""
        own = [
            and_(queue == name, moment < before)
            for name, before in self.queues.items()
            if before is not None
        ]
        if self.others is not None:
            own.append(and_(queue.not_in(list(self.queues)), moment < self.others))
        return or_(*own)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did.

    Attributes:
        removed: rows, or pieces of evidence.
        place: to go on from; None when there was nothing more.
        evidence: SHA-256 of what the caller deletes from the evidence store before it commits.
    """

    removed: int
    place: Place | None
    evidence: tuple[str, ...] = ()


def forget_verdicts(
    connection: Connection, before: Before, after: Place | None, *, now: datetime
) -> Step:
    """Removes old verdicts that no flag, decision or second look stands for."""
    columns = tables.verdicts.c
    found = _walk(connection, tables.verdicts, columns.created_at, before, after)
    if not found:
        return Step(0, None)
    removed = connection.execute(
        delete(tables.verdicts).where(
            columns.id.in_([place.id for place in found]),
            *(
                ~exists().where(other.c.verdict_id == columns.id)
                for other in (tables.flags, decisions, reviews, tables.evidence_uses)
            ),
        )
    ).rowcount
    return Step(removed, found[-1])


def forget_evidence(
    connection: Connection, before: Before, after: Place | None, *, now: datetime
) -> Step:
    """Removes text, pictures and explanations of posts whose flags were all closed before then,
    except what another post has as evidence too, and what is still to be looked at again.
    """
    flags, verdicts = tables.flags.c, tables.verdicts.c
    found = _walk(connection, tables.flags, flags.closed_at, before, after)
    if not found:
        return Step(0, None)
    needed = tables.flags.alias("needed")
    posts = list(
        connection.execute(
            select(flags.post_id)
            .distinct()
            .where(
                flags.id.in_([place.id for place in found]),
                ~exists().where(
                    needed.c.post_id == flags.post_id,
                    or_(
                        needed.c.closed_at.is_(None),
                        ~before.is_over(needed.c.closed_at, needed.c.queue),
                        _is_looked_at_again(needed, now),
                    ),
                ),
            )
        ).scalars()
    )
    hashes: set[str] = set()
    verdict_ids: list[int] = []
    for number, evidence in connection.execute(
        select(verdicts.id, verdicts.evidence).where(verdicts.post_id.in_(posts))
    ):
        if evidence:
            verdict_ids.append(number)
            hashes.update(item["sha256"] for item in evidence)
    removed = let_go(connection, verdict_ids, hashes)
    for part in in_parts(verdict_ids):
        connection.execute(
            update(tables.verdicts)
            .where(verdicts.id.in_(part))
            .values(evidence=[], explanation=None)
        )
    connection.execute(
        update(tables.flags)
        .where(flags.post_id.in_(posts), flags.search_text.is_not(None))
        .values(search_text=None)
    )
    explanations.forget(connection, select(flags.id).where(flags.post_id.in_(posts)))
    return Step(len(removed), found[-1], removed)


def forget_decisions(
    connection: Connection, before: Before, after: Place | None, *, now: datetime
) -> Step:
    """Removes the decisions of closed flags whose last one is old, with the second looks at them
    and what was said about them.
    Those of a flag go together: an undone decision whose undoing is gone would count again.
    """
    flags, columns = tables.flags.c, decisions.c
    found = _walk(connection, decisions, columns.created_at, before, after)
    if not found:
        return Step(0, None)
    met = decisions.alias("met")
    of_these = list(
        connection.execute(
            select(flags.id).where(
                flags.id.in_(
                    select(met.c.flag_id).where(met.c.id.in_([place.id for place in found]))
                ),
                flags.state == "decided",
                ~exists().where(
                    columns.flag_id == flags.id, ~before.is_over(columns.created_at, flags.queue)
                ),
                ~_is_looked_at_again(tables.flags, now),
            )
        ).scalars()
    )
    looks = select(reviews.c.id).where(reviews.c.flag_id.in_(of_these))
    connection.execute(delete(review_votes).where(review_votes.c.review_id.in_(looks)))
    connection.execute(delete(reviews).where(reviews.c.flag_id.in_(of_these)))
    connection.execute(delete(known_answers).where(known_answers.c.flag_id.in_(of_these)))
    for table in (comments, summonses):
        connection.execute(delete(table).where(table.c.flag_id.in_(of_these)))
    removed = connection.execute(delete(decisions).where(columns.flag_id.in_(of_these))).rowcount
    return Step(removed, found[-1])


def forget_audit(
    connection: Connection, before: Before, after: Place | None, *, now: datetime
) -> Step:
    """Removes old entries of the audit log, the first written first."""
    columns = audit_log.c
    rows = connection.execute(select(columns.id, columns.at).order_by(columns.id).limit(BATCH))
    assert before.others is not None
    old = [Place(at, number) for number, at in rows if at < before.others]
    if not old:
        return Step(0, None)
    # The log's triggers refuse to remove anything else.
    audit.let_go(connection, before=before.others)
    connection.execute(delete(audit_log).where(columns.id.in_([place.id for place in old])))
    return Step(len(old), old[-1])


def _is_looked_at_again(flags: FromClause, now: datetime) -> ColumnElement[bool]:
    """Whether a second look or an appeal waits for a flag, or it is one whose answer is known."""
    return or_(
        exists().where(
            reviews.c.flag_id == flags.c.id,
            reviews.c.state.in_(tables.UNCLOSED_STATES),
            has_not_lapsed(now),
        ),
        exists().where(known_answers.c.flag_id == flags.c.id, known_answers.c.retired_at.is_(None)),
    )


def _walk(
    connection: Connection,
    table: Table,
    moment: Column[datetime],
    before: Before,
    after: Place | None,
) -> list[Place]:
    """The next rows in the order of their moment, along its index."""
    statement = (
        select(moment, table.c.id)
        .where(moment < before.latest)
        .order_by(moment, table.c.id)
        .limit(BATCH)
    )
    if after is not None:
        behind = or_(moment > after.at, and_(moment == after.at, table.c.id > after.id))
        statement = statement.where(moment >= after.at, behind)
    return [Place(*row) for row in connection.execute(statement)]
