"""Known answers: decided flags that a lead marked, asked for again among second looks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, literal, select, true, update

from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.database import insert
from storage.base.text import clean_text, primary_language
from storage.flags import claims
from storage.flags.decisions import MAX_NOTE_CHARACTERS
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reviews.reviews import deciding, had_a_part, lock, open_look
from storage.tables import KnownAnswer, known_answers, review_votes, reviews

_CHOSEN_FROM: Final = 200
_CHANCE: Final = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Lesson:
    """What whoever missed a known answer can learn from it.

    Attributes:
        right: the known answer.
        why: what the lead says who marked it, if anything.
    """

    review_id: int
    post_id: str
    said: str
    right: str
    why: str | None
    voted_at: datetime


def mark(
    connection: Connection,
    flag_id: int,
    action: str,
    lead: Moderator,
    *,
    why: str = "",
    now: datetime | None = None,
) -> None:
    """Says that the right answer to a decided flag is known; with an empty action, that it is not.

    Args:
        why: it is the right one, for whoever will have given another.

    Raises:
        ConfigurationError: an action that is neither approve nor remove, or `why` is too long.
        FlagConflict: nobody has decided the flag.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    if action not in ("approve", "remove", ""):
        raise ConfigurationError(f"a known answer must be approve or remove, not {action[:80]!r}")
    if len(why) > MAX_NOTE_CHARACTERS:
        raise ConfigurationError(
            f"the explanation has {len(why)} characters; the limit is {MAX_NOTE_CHARACTERS}"
        )
    flag = claims.lock(connection, flag_id)
    if action:
        deciding(connection, flag)
    before = of_flag(connection, flag_id)
    if before is None and not action:
        return
    columns = known_answers.c
    if action:
        values = {
            "action": action,
            "marked_by": lead.name,
            "marked_at": moment,
            "retired_at": None,
            "why": clean_text(why.strip(), MAX_NOTE_CHARACTERS) or None,
        }
        upsert = insert(connection, known_answers).values(flag_id=flag_id, **values)
        connection.execute(upsert.on_conflict_do_update(index_elements=["flag_id"], set_=values))
    else:
        retire = update(known_answers).where(columns.flag_id == flag_id)
        connection.execute(retire.values(retired_at=moment))
    audit.write(
        connection,
        lead.name,
        "flag.known-answer",
        f"flag {flag_id}",
        before={"action": None if before is None else before.action},
        after={"action": action or None},
        now=moment,
    )


def of_flag(connection: Connection, flag_id: int) -> KnownAnswer | None:
    """Returns the right answer to a flag, if it is known."""
    columns = known_answers.c
    row = connection.execute(
        select(known_answers).where(columns.flag_id == flag_id, columns.retired_at.is_(None))
    ).one_or_none()
    return None if row is None else KnownAnswer(**row._mapping)


def lesson(connection: Connection, review_id: int, moderator: Moderator) -> Lesson | None:
    """Returns what somebody can learn from their vote in a look; None unless it missed an answer
    that is still known.
    """
    return next(iter(_lessons(connection, moderator, reviews.c.id == review_id, limit=1)), None)


def lessons(connection: Connection, moderator: Moderator, *, limit: int) -> list[Lesson]:
    """Returns the known answers that somebody missed, the last first."""
    return _lessons(connection, moderator, true(), limit=limit)


def _lessons(
    connection: Connection, moderator: Moderator, which: ColumnElement[bool], *, limit: int
) -> list[Lesson]:
    look, vote, known = reviews.c, review_votes.c, known_answers.c
    # An answer that was withdrawn, or is another one by now, teaches nothing.
    stands = and_(known.action == look.expected, known.retired_at.is_(None))
    rows = connection.execute(
        select(
            look.id.label("review_id"),
            tables.flags.c.post_id,
            vote.action.label("said"),
            known.action.label("right"),
            known.why,
            vote.created_at.label("voted_at"),
        )
        .select_from(review_votes)
        .join(reviews, look.id == vote.review_id)
        .join(known_answers, and_(known.flag_id == look.flag_id, stands))
        .join(tables.flags, tables.flags.c.id == look.flag_id)
        .where(
            which,
            vote.moderator_id == moderator.id,
            vote.action.in_(("approve", "remove")),
            vote.action != look.expected,
            look.kind == "known",
        )
        .order_by(vote.id.desc())
        .limit(limit)
    )
    return [Lesson(**row._mapping) for row in rows]


def ask(
    connection: Connection,
    moderator: Moderator,
    *,
    queue: str | None,
    language: str | None = None,
    now: datetime,
) -> Row[Any] | None:
    """Opens a look at one of the newest known answers that they had no part in, or returns None."""
    flag, known = tables.flags.c, known_answers.c
    found = connection.execute(
        select(flag.id, known.action)
        .join(known_answers, known.flag_id == flag.id)
        .where(
            known.retired_at.is_(None),
            known.marked_by != moderator.name,
            flag.state == "decided",
            true() if queue is None else flag.queue == queue,
            true() if language is None else flag.language == primary_language(language),
            ~had_a_part(literal(moderator.id), flag.id),
        )
        .order_by(flag.id.desc())
        .limit(_CHOSEN_FROM)
    ).all()
    if not found:
        return None
    flag_id, action = _CHANCE.choice(found)
    try:
        number = open_look(
            connection,
            claims.lock(connection, flag_id),
            "known",
            opened_at=now,
            expected=action,
            for_moderator_id=moderator.id,
        )
    except FlagConflict:  # its decision was undone since it was marked
        return None
    return lock(connection, number)
