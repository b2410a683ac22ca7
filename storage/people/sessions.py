"""Sessions, links that sign in once, and how password guessing is slowed down."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from deadpan.core.errors import AccessDenied
from storage import tables
from storage.base.database import insert
from storage.base.text import clean_text
from storage.people import audit, moderators
from storage.people.moderators import Moderator
from storage.tables import sessions, sign_in_failures, sign_in_links

SESSION_HOURS: Final = 12
"""A session lasts a shift."""
IDLE_HOURS: Final = 2
"""It ends when nothing was done for this long."""
FREE_FAILURES: Final = 4
"""Wrong passwords without a wait; then 2, 4, 8 … seconds."""
LONGEST_WAIT_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which somebody is signed in."""

    id: int
    client: str
    created_at: datetime
    last_seen_at: datetime
    moderator: Moderator


@dataclass(frozen=True, slots=True)
class Link:
    """A link that signs somebody in, once."""

    moderator: Moderator
    sets_password: bool


def hash_of(token: str) -> str:
    """SHA-256 of a token of 256 random bits, which needs no slower hash."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def start(
    connection: Connection,
    moderator: Moderator,
    *,
    client: str,
    address: str | None,
    by: str | None = None,
) -> str:
    """Starts a session and returns its token, a new one at every sign-in.

    Args:
        client: what the browser calls itself.
        by: how they signed in, for the audit log.

    Raises:
        AccessDenied: the account is disabled.
    """
    if moderator.disabled_at is not None:
        raise AccessDenied("this account is disabled; ask an admin")
    now = datetime.now(UTC)
    token = secrets.token_urlsafe(32)
    connection.execute(
        sessions.insert().values(
            token_hash=hash_of(token),
            moderator_id=moderator.id,
            client=clean_text(client, 200),
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(hours=SESSION_HOURS),
        )
    )
    audit.write(
        connection,
        moderator.name,
        "session.start",
        moderator.name,
        after={"by": by} if by else None,
        address=address,
    )
    return token


def find(connection: Connection, token: str, *, now: datetime | None = None) -> Session | None:
    """Returns the session of a token, unless it has ended."""
    moment = now if now is not None else datetime.now(UTC)
    columns = sessions.c
    row = connection.execute(
        select(
            columns.id, columns.client, columns.created_at, columns.last_seen_at, *moderators.BESIDE
        )
        .join(tables.moderators, tables.moderators.c.id == columns.moderator_id)
        .where(
            columns.token_hash == hash_of(token),
            _is_living(moment),
            tables.moderators.c.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    return Session(row.id, row.client, row.created_at, row.last_seen_at, moderators.beside(row))


def touch(connection: Connection, session: Session) -> None:
    """Notes that the session was used."""
    connection.execute(
        update(sessions).where(sessions.c.id == session.id).values(last_seen_at=datetime.now(UTC))
    )


def living(connection: Connection, moderator: Moderator) -> list[Session]:
    """Returns a moderator's sessions that have not ended, newest first."""
    mine = sessions.c.moderator_id == moderator.id
    rows = connection.execute(
        select(sessions).where(mine, _is_living(datetime.now(UTC))).order_by(sessions.c.id.desc())
    )
    return [Session(r.id, r.client, r.created_at, r.last_seen_at, moderator) for r in rows]


def _is_living(now: datetime) -> ColumnElement[bool]:
    columns = sessions.c
    return and_(
        columns.ended_at.is_(None),
        columns.expires_at > now,
        columns.last_seen_at > now - timedelta(hours=IDLE_HOURS),
    )


def end(
    connection: Connection,
    moderator: Moderator,
    *,
    actor: str,
    session_id: int | None = None,
    keep: int | None = None,
) -> None:
    """Ends a moderator's sessions: one (`session_id`), or all except one (`keep`), or all."""
    statement = update(sessions).where(
        sessions.c.moderator_id == moderator.id, sessions.c.ended_at.is_(None)
    )
    if session_id is not None:
        statement = statement.where(sessions.c.id == session_id)
    if keep is not None:
        statement = statement.where(sessions.c.id != keep)
    connection.execute(statement.values(ended_at=datetime.now(UTC)))
    audit.write(connection, actor, "session.end", moderator.name)


def make_link(
    connection: Connection,
    moderator: Moderator,
    *,
    actor: str,
    sets_password: bool,
    hours: float = 24,
) -> str:
    """Makes a link that can be used once for so many hours, and returns its token.

    Args:
        sets_password: whether it is for choosing a password; then earlier ones end.
    """
    now = datetime.now(UTC)
    token = secrets.token_urlsafe(32)
    if sets_password:
        connection.execute(
            delete(sign_in_links).where(
                sign_in_links.c.moderator_id == moderator.id,
                sign_in_links.c.sets_password.is_(True),
                sign_in_links.c.used_at.is_(None),
            )
        )
    connection.execute(
        sign_in_links.insert().values(
            token_hash=hash_of(token),
            moderator_id=moderator.id,
            sets_password=sets_password,
            created_at=now,
            expires_at=now + timedelta(hours=hours),
        )
    )
    audit.write(
        connection,
        actor,
        "link.make",
        f"moderator {moderator.name}",
        after={"sets_password": sets_password, "hours": hours},
    )
    return token


def look_at_link(connection: Connection, token: str) -> Link:
    """Returns what a link would do; AccessDenied if it was used, has expired or is unknown."""
    row = connection.execute(
        select(sign_in_links).where(sign_in_links.c.token_hash == hash_of(token))
    ).one_or_none()
    if row is None:
        raise AccessDenied("this link is unknown, or a newer one was made; ask an admin")
    if row.used_at is not None:
        raise AccessDenied("this link was already used; sign in as usual, or ask for a new link")
    if row.expires_at <= datetime.now(UTC):
        raise AccessDenied("this link has expired; ask an admin for a new one")
    return Link(moderators.by_id(connection, row.moderator_id), bool(row.sets_password))


def use_link(connection: Connection, token: str) -> Link:
    """Uses a link, which only one of two at once can do; AccessDenied as in `look_at_link`."""
    link = look_at_link(connection, token)
    used = connection.execute(
        update(sign_in_links)
        .where(sign_in_links.c.token_hash == hash_of(token), sign_in_links.c.used_at.is_(None))
        .values(used_at=datetime.now(UTC))
    )
    if used.rowcount != 1:
        raise AccessDenied("this link was already used; ask for a new link")
    return link


def seconds_to_wait(connection: Connection, name: str, place: str) -> int:
    """How long somebody at this place must wait before the next try of this account."""
    columns = sign_in_failures.c
    row = connection.execute(
        select(columns.failures, columns.last_at).where(
            columns.name == clean_text(name, 64), columns.place == clean_text(place, 64)
        )
    ).one_or_none()
    if row is None or row.failures <= FREE_FAILURES:
        return 0
    wait = min(2.0 ** min(row.failures - FREE_FAILURES, 30), LONGEST_WAIT_SECONDS)
    left = (row.last_at + timedelta(seconds=wait) - datetime.now(UTC)).total_seconds()
    return max(0, int(left + 0.999))


def begin_try(connection: Connection, name: str, place: str) -> int:
    """Counts a try of a password as wrong before the password is checked, or returns how many
    seconds to wait first. Counted only afterwards, any number sent at once would be checked.
    """
    now = datetime.now(UTC)
    columns = sign_in_failures.c
    connection.execute(delete(sign_in_failures).where(columns.last_at < now - timedelta(days=1)))
    key = {"name": clean_text(name, 64), "place": clean_text(place, 64)}
    statement = insert(connection, sign_in_failures).values(**key, failures=0, last_at=now)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name", "place"]))
    mine = (columns.name == key["name"]) & (columns.place == key["place"])
    connection.execute(select(columns.failures).where(mine).with_for_update())
    wait = seconds_to_wait(connection, name, place)
    if not wait:
        connection.execute(
            update(sign_in_failures).where(mine).values(failures=columns.failures + 1, last_at=now)
        )
    return wait


def forget_failures(connection: Connection, name: str, place: str) -> None:
    """Forgets wrong passwords, because the right one was given."""
    columns = sign_in_failures.c
    connection.execute(delete(sign_in_failures).where(columns.name == name, columns.place == place))
