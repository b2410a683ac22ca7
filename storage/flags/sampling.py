"""Which decisions get a second look: a share by a keyed hash, and those that contradict another."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select

from deadpan.core.errors import FlagConflict
from storage import tables
from storage.flags.decided import is_undone
from storage.people.moderators import Moderator
from storage.tables import decisions, review_votes, reviews


@dataclass(frozen=True, slots=True)
class Sampling:
    """The share (0 to 1) of decisions that somebody else looks at too.

    A keyed hash says whether a flag is in the sample, whoever decides it and how often: nobody can
    tell beforehand without the key, which is secret and the same in every process, and undoing and
    deciding again changes nothing.
    """

    share: float = 0.0
    key: str = field(default="", repr=False)

    def takes(self, flag_id: int) -> bool:
        """Whether this flag is in the sample."""
        digest = hmac.new(self.key.encode(), b"second look %d" % flag_id, hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def open_after(
    connection: Connection,
    flag: Row[Any],
    moderator: Moderator,
    *,
    decision_id: int,
    action: str,
    sampling: Sampling,
    not_before: datetime,
) -> None:
    """Opens a second look at a decision about a locked flag, in its transaction, if it is to have
    one. It is not offered before the decision can no longer be undone.
    """
    if action not in ("approve", "remove"):
        return
    # What is in the sample counts as such: agreement is estimated from the sample alone.
    if sampling.takes(flag.id):
        kind = "sample"
    elif _contradicts(connection, flag, moderator, action):
        kind = "disagreement"
    else:
        return
    connection.execute(
        reviews.insert().values(
            flag_id=flag.id,
            verdict_id=flag.verdict_id,
            decision_id=decision_id,
            kind=kind,
            expected=action,
            state="open",
            row_version=1,
            opened_at=not_before,
        )
    )


def withdraw(connection: Connection, decision_id: int, flag_id: int) -> None:
    """Removes the looks at a decision that is being undone, whose flag is locked; FlagConflict if
    somebody has looked already, or the decision is the outcome of an appeal.
    """
    mine = select(reviews.c.id).where(reviews.c.flag_id == flag_id)
    looked = exists().where(
        review_votes.c.review_id.in_(mine.where(reviews.c.decision_id == decision_id)),
        review_votes.c.action != "skip",
    )
    outcome = exists().where(review_votes.c.decision_id == decision_id)
    if connection.execute(select(looked | outcome)).scalar_one():
        raise FlagConflict("somebody else has looked at this flag since; a lead can open an appeal")
    unseen = ~exists().where(review_votes.c.review_id == reviews.c.id)
    connection.execute(
        delete(reviews).where(
            reviews.c.flag_id == flag_id, reviews.c.decision_id == decision_id, unseen
        )
    )


def _contradicts(connection: Connection, flag: Row[Any], moderator: Moderator, action: str) -> bool:
    """Whether somebody else decided an earlier flag of the same post the other way."""
    others = (
        select(decisions.c.id)
        .join(tables.flags, tables.flags.c.id == decisions.c.flag_id)
        .where(
            tables.flags.c.post_id == flag.post_id,
            decisions.c.moderator_id != moderator.id,
            decisions.c.action == {"approve": "remove", "remove": "approve"}[action],
            ~is_undone(),
        )
        .limit(1)
    )
    return connection.execute(others).one_or_none() is not None
