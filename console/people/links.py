"""Links that sign in once, for whoever has the machine: the first administrator, `deadpan up`."""

from __future__ import annotations

from sqlalchemy import Engine

from deadpan.core.errors import NotFound
from storage.base.database import transaction
from storage.people import audit, identities, moderators, sessions

FIRST_NAME = "admin"


def first_link(database: Engine, base_url: str, *, passwords: bool = True) -> str | None:
    """A link that makes the first administrator; None when somebody can sign in already.

    Args:
        passwords: whether people may sign in with them; else the link asks for none, and an
            e-mail address counts, by which the provider's account is met.
    """
    with transaction(database) as connection:
        people = moderators.everyone(connection)
        able = [each.has_password if passwords else each.email for each in people]
        if any(able) or identities.of_everyone(connection):
            return None
        admins = [each for each in people if each.role == "admin" and each.disabled_at is None]
        admin = (
            admins[0]
            if admins
            else moderators.add(connection, FIRST_NAME, "admin", actor=audit.COMMAND_LINE)
        )
        token = sessions.make_link(
            connection, admin, actor=audit.COMMAND_LINE, sets_password=passwords
        )
    return link(base_url, token)


def local_link(database: Engine, base_url: str) -> str:
    """A link that signs in as an administrator without a password, for `deadpan up`: whoever
    starts it owns the database anyway."""
    with transaction(database) as connection:
        try:
            admin = moderators.by_name(connection, FIRST_NAME)
        except NotFound:
            admin = moderators.add(connection, FIRST_NAME, "admin", actor=audit.COMMAND_LINE)
        token = sessions.make_link(
            connection, admin, actor=audit.COMMAND_LINE, sets_password=False, hours=12
        )
    return link(base_url, token)


def link(base_url: str, token: str) -> str:
    """The address of a link's page."""
    return f"{base_url}/sign-in?token={token}"
