"""What people say to each other about a flag, apart from what they decide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, select

from deadpan.core.errors import ConfigurationError
from storage import tables
from storage.base.text import clean_text
from storage.flags import claims, summons
from storage.people import audit, moderators
from storage.people.moderators import Moderator
from storage.tables import CommentRow, comments

MAX_COMMENT_CHARACTERS: Final = 2000
#: Of a flag so many are shown, the newest.
SHOWN: Final = 200
_MENTION: Final = re.compile(r"(?<![\w@.-])@([a-z0-9][a-z0-9._-]{0,63})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Comment(CommentRow):
    """A comment, with who wrote it."""

    moderator: str


def add(
    connection: Connection,
    flag_id: int,
    moderator: Moderator,
    text: str,
    *,
    now: datetime | None = None,
) -> Comment:
    """Adds a comment, and summons whom it names; names of nobody are words like others.

    Raises:
        ConfigurationError: it is empty or too long.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    said = clean_text(text.strip(), 10 * MAX_COMMENT_CHARACTERS)
    if not 0 < len(said) <= MAX_COMMENT_CHARACTERS:
        raise ConfigurationError(
            f"a comment has {len(said):,} characters; write 1 to {MAX_COMMENT_CHARACTERS:,}"
        )
    claims.lock(connection, flag_id)
    values = {"flag_id": flag_id, "moderator_id": moderator.id, "text": said, "created_at": moment}
    number = connection.execute(
        comments.insert().values(values).returning(comments.c.id)
    ).scalar_one()
    named = mentioned(connection, said)
    for each in named:
        if each.id != moderator.id:
            summons.summon(connection, each, flag_id, "mention", by=moderator, now=moment)
    audit.write(
        connection,
        moderator.name,
        "flag.comment",
        f"flag {flag_id}",
        after={"comment": number, "mentions": [each.name for each in named]},
        now=moment,
    )
    return Comment(id=number, **values, moderator=moderator.name)  # type: ignore[arg-type]


def mentioned(connection: Connection, text: str) -> list[Moderator]:
    """Returns the people who are named in a text and may read it."""
    names = {found.rstrip("._-").lower() for found in _MENTION.findall(text)}
    people = moderators.everyone(connection) if names else []
    return [each for each in people if each.name in names and each.disabled_at is None]


def of_flag(connection: Connection, flag_id: int) -> list[Comment]:
    """Returns the comments of a flag, oldest first."""
    statement = (
        select(comments, tables.moderators.c.name.label("moderator"))
        .join(tables.moderators, tables.moderators.c.id == comments.c.moderator_id)
        .where(comments.c.flag_id == flag_id)
        .order_by(comments.c.id.desc())
        .limit(SHOWN)
    )
    return [Comment(**row._mapping) for row in connection.execute(statement)][::-1]
