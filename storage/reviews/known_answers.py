"""Known answers: decided flags that a lead marked, asked for again among second looks."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, literal, select, true, update

from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.database import insert
from storage.base.text import primary_language
from storage.flags import claims
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reviews.reviews import deciding, had_a_part, lock, open_look
from storage.tables import known_answers

_CHOSEN_FROM: Final = 200
_CHANCE: Final = secrets.SystemRandom()


def mark(
    connection: Connection,
    flag_id: int,
    action: str,
    lead: Moderator,
    *,
    now: datetime | None = None,
) -> None:
    """Says that the right answer to a decided flag is known; with an empty action, that it is not.

    Raises:
        ConfigurationError: an action that is neither approve nor remove.
        FlagConflict: nobody has decided the flag.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    if action not in ("approve", "remove", ""):
        raise ConfigurationError(f"a known answer must be approve or remove, not {action[:80]!r}")
    flag = claims.lock(connection, flag_id)
    if action:
        deciding(connection, flag)
    before = of_flag(connection, flag_id)
    if before is None and not action:
        return
    columns = known_answers.c
    if action:
        values = {"marked_by": lead.name, "marked_at": moment, "retired_at": None, "action": action}
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
        before={"action": before},
        after={"action": action or None},
        now=moment,
    )


def of_flag(connection: Connection, flag_id: int) -> str | None:
    """Returns the right answer to a flag, if it is known."""
    columns = known_answers.c
    found = connection.execute(
        select(columns.action).where(columns.flag_id == flag_id, columns.retired_at.is_(None))
    ).scalar_one_or_none()
    return None if found is None else str(found)


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
