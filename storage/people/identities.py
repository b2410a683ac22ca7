"""Identities: who an OpenID provider says that a moderator is.

An e-mail address links an account once, if the provider says that it was verified and an admin
entered the same one; from then on only issuer and subject count, which a provider never gives to
anybody else, while an address may pass to another person.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, select

from deadpan.core.errors import AccessDenied, ConfigurationError
from storage.base.database import insert
from storage.people import audit, moderators, sessions
from storage.people.moderators import Moderator
from storage.tables import Identity, identities

MAX_SUBJECT_CHARACTERS = 255
"""What OpenID Connect Core allows."""


def recognise(
    connection: Connection, issuer: str, subject: str, verified_email: str | None
) -> Moderator:
    """Returns the moderator whom a provider has signed in, and remembers a new identity. It never
    adds a moderator.

    Args:
        verified_email: an address that the provider says was verified.

    Raises:
        AccessDenied: nobody here, or more than one person, is meant, or the account is disabled.
    """
    known = _moderator_of(connection, issuer, subject)
    if known is None:
        known = _meant_by(connection, verified_email)
        if known.disabled_at is None:
            _bind(connection, known, issuer, subject, actor=known.name)
    if known.disabled_at is not None:
        raise AccessDenied("this account is disabled; ask an admin")
    return known


def take_role(connection: Connection, moderator: Moderator, role: str) -> Moderator:
    """Gives a moderator the role that the provider says, even to the last admin: the command line
    can change it back until the next sign-in.
    """
    if moderator.role == role:
        return moderator
    return moderators.set_role(
        connection, moderator.name, role, actor=audit.OPENID, keep_an_admin=False
    )


def shut_out(connection: Connection, issuer: str, subject: str) -> None:
    """Ends the sessions of somebody who no longer has a role at the provider."""
    known = _moderator_of(connection, issuer, subject)
    if known is not None:
        sessions.end(connection, known, actor=audit.OPENID)


def bind(
    connection: Connection, moderator: Moderator, issuer: str, subject: str, *, actor: str
) -> None:
    """Says beforehand who a moderator is at a provider: its URL as in its tokens, and their `sub`.

    Raises:
        ConfigurationError: it is not a subject, or one of the two has another identity already.
    """
    if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise ConfigurationError(
            f"invalid subject {subject[:80]!r}; a provider's `sub` has 1 to "
            f"{MAX_SUBJECT_CHARACTERS} printable characters"
        )
    try:
        _bind(connection, moderator, issuer, subject, actor=actor)
    except AccessDenied as error:
        raise ConfigurationError(str(error)) from None


def forget(connection: Connection, moderator: Moderator, *, actor: str) -> None:
    """Removes every identity of a moderator, and ends their sessions."""
    gone = [each.issuer for each in of_everyone(connection).get(moderator.id, ())]
    connection.execute(delete(identities).where(identities.c.moderator_id == moderator.id))
    sessions.end(connection, moderator, actor=actor)
    audit.write(
        connection, actor, "identity.forget", f"moderator {moderator.name}", before={"of": gone}
    )


def of_everyone(connection: Connection) -> Mapping[int, list[Identity]]:
    """Returns all identities by their moderator's id."""
    found: dict[int, list[Identity]] = {}
    for row in connection.execute(select(identities).order_by(identities.c.id)):
        found.setdefault(row.moderator_id, []).append(Identity(**row._mapping))
    return found


def has_one(connection: Connection, moderator: Moderator) -> bool:
    """Whether somebody can sign in through a provider."""
    statement = select(identities.c.id).where(identities.c.moderator_id == moderator.id).limit(1)
    return connection.execute(statement).first() is not None


def _moderator_of(connection: Connection, issuer: str, subject: str) -> Moderator | None:
    columns = identities.c
    number = connection.execute(
        select(columns.moderator_id).where(columns.issuer == issuer, columns.subject == subject)
    ).scalar_one_or_none()
    return None if number is None else moderators.by_id(connection, number)


def _meant_by(connection: Connection, verified_email: str | None) -> Moderator:
    if verified_email is None:
        raise AccessDenied(
            "the provider does not say that your e-mail address was verified; "
            "ask an admin to enter your subject instead"
        )
    wanted = _folded(verified_email)
    meant = [
        each
        for each in moderators.everyone(connection)
        if each.email is not None and _folded(each.email) == wanted
    ]
    able = [each for each in meant if each.disabled_at is None]
    shown = verified_email[:254]
    if not meant:
        raise AccessDenied(f"nobody here has the e-mail address {shown}; ask an admin to add you")
    if len(able) > 1:
        raise AccessDenied(f"{len(able)} people here have the e-mail address {shown}; ask an admin")
    return able[0] if able else meant[0]


def _folded(email: str) -> str:
    # Only A to Z: other letters have lower-case forms that look like somebody else's (U+212A is k).
    return "".join(letter.lower() if letter.isascii() else letter for letter in email)


def _bind(
    connection: Connection, moderator: Moderator, issuer: str, subject: str, *, actor: str
) -> None:
    values = {"issuer": issuer, "subject": subject, "moderator_id": moderator.id}
    statement = (
        insert(connection, identities)
        .values(**values, created_at=datetime.now(UTC))
        .on_conflict_do_nothing()
        .returning(identities.c.id)
    )
    if connection.execute(statement).scalar_one_or_none() is None:
        holder = _moderator_of(connection, issuer, subject)
        if holder is not None and holder.id == moderator.id:
            return
        raise AccessDenied(
            f"{moderator.name} is linked to another account of this provider; "
            "an admin can remove that link"
            if holder is None
            else f"this provider account is linked to {holder.name}; an admin can remove that link"
        )
    audit.write(
        connection,
        actor,
        "identity.add",
        f"moderator {moderator.name}",
        after={"issuer": issuer, "subject": subject},
    )
