"""Moderators: the people who may sign in, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, select, update

from deadpan.core.errors import ConfigurationError, NotFound
from storage import tables
from storage.base.database import insert
from storage.people import audit
from storage.tables import ROLES, api_tokens, moderators, sessions, sign_in_links

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Moderator(tables.ModeratorRow):
    """A person who works the flags."""

    has_password: bool

    @property
    def is_lead(self) -> bool:
        """Whether they may do what leads do."""
        return self.may("lead")

    def may(self, role: str) -> bool:
        """Whether they may do what this role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


_COLUMNS = (
    *(each for each in moderators.c if each.name != "password_hash"),
    moderators.c.password_hash.is_not(None).label("has_password"),
)

_NAMES = tuple(column.name for column in _COLUMNS)
BESIDE = tuple(column.label(f"moderator_{column.name}") for column in _COLUMNS)
"""A moderator's columns, under names that clash with no other table's."""


def add(
    connection: Connection, name: str, role: str, *, actor: str, email: str | None = None
) -> Moderator:
    """Adds a moderator, who cannot sign in before a link is made for them.

    Raises:
        ConfigurationError: the name is taken or unusable, or there is no such role or address.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"invalid name {name[:80]!r}; "
            "use at most 64 lower-case letters, digits, ., - and _, a letter or digit first"
        )
    if name == audit.OPENID:
        raise ConfigurationError(
            f"the name {name!r} is reserved for the audit log; use another one"
        )
    _check_role(role)
    _check_email(email)
    statement = (
        insert(connection, moderators)
        .values(name=name, email=email, role=role, settings={}, created_at=datetime.now(UTC))
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(moderators.c.id)
    )
    number = connection.execute(statement).scalar_one_or_none()
    if number is None:
        raise ConfigurationError(
            f"the name {name!r} is taken, and names are never reused; choose another"
        )
    audit.write(connection, actor, "moderator.add", f"moderator {name}", after={"role": role})
    return by_id(connection, number)


def everyone(connection: Connection) -> list[Moderator]:
    """Returns all moderators by name, disabled ones too."""
    rows = connection.execute(select(*_COLUMNS).order_by(moderators.c.name))
    return [Moderator(**row._mapping) for row in rows]


def beside(row: Row[Any]) -> Moderator:
    """The moderator of a row that was selected with `BESIDE` beside something else's columns."""
    return Moderator(**{name: row._mapping[f"moderator_{name}"] for name in _NAMES})


def by_id(connection: Connection, moderator_id: int) -> Moderator:
    """Returns a moderator; NotFound if there is none."""
    found = _one(connection, moderators.c.id == moderator_id)
    if found is None:
        raise NotFound(f"there is no moderator {moderator_id}")
    return found


def by_name(connection: Connection, name: str) -> Moderator:
    """Returns a moderator; NotFound if there is none."""
    found = _one(connection, moderators.c.name == name) if _NAME.fullmatch(name) else None
    if found is None:
        raise NotFound(f"there is no moderator {name[:80]!r}; see `deadpan moderators list`")
    return found


def password_hash(connection: Connection, name: str) -> tuple[Moderator, str | None] | None:
    """Returns a moderator with the hash of their password, for comparing."""
    if not _NAME.fullmatch(name):
        return None
    statement = select(*_COLUMNS, moderators.c.password_hash).where(moderators.c.name == name)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    fields = dict(row._mapping)
    kept = fields.pop("password_hash")
    return Moderator(**fields), kept


def set_password(connection: Connection, moderator_id: int, hashed: str, *, actor: str) -> None:
    """Stores the hash of a new password, and ends links to choose one."""
    _set(connection, moderator_id, password_hash=hashed)
    _end_links(connection, moderator_id)
    who = by_id(connection, moderator_id)
    audit.write(connection, actor, "moderator.password", f"moderator {who.name}")


def set_role(
    connection: Connection, name: str, role: str, *, actor: str, keep_an_admin: bool = True
) -> Moderator:
    """Gives a moderator another role, which their sessions and tokens have from the next request.

    Raises:
        ConfigurationError: no such role, or (with `keep_an_admin`) they are the last admin.
        NotFound: no such moderator.
    """
    _check_role(role)
    before = by_name(connection, name)
    _set(connection, before.id, role=role)
    if keep_an_admin:
        _keep_an_admin(connection, before)
    _note_change(connection, actor, "role", before, role)
    return by_id(connection, before.id)


def set_email(connection: Connection, name: str, email: str | None, *, actor: str) -> Moderator:
    """Gives a moderator another e-mail address, or none; ConfigurationError if it is invalid."""
    _check_email(email)
    before = by_name(connection, name)
    _set(connection, before.id, email=email)
    _note_change(connection, actor, "email", before, email)
    return by_id(connection, before.id)


def set_disabled(connection: Connection, name: str, disabled: bool, *, actor: str) -> Moderator:
    """Deactivates or reactivates a moderator; deactivating ends sessions, tokens and links at once.

    Raises:
        ConfigurationError: it is the last admin.
        NotFound: no such moderator.
    """
    before = by_name(connection, name)
    now = datetime.now(UTC)
    _set(connection, before.id, disabled_at=now if disabled else None)
    if disabled:
        _keep_an_admin(connection, before)
        for table, column in ((sessions, "ended_at"), (api_tokens, "revoked_at")):
            connection.execute(
                update(table)
                .where(table.c.moderator_id == before.id, table.c[column].is_(None))
                .values({column: now})
            )
        _end_links(connection, before.id)
    done = "moderator.disable" if disabled else "moderator.enable"
    audit.write(connection, actor, done, f"moderator {name}")
    return by_id(connection, before.id)


def set_settings(connection: Connection, moderator: Moderator, settings: Mapping[str, Any]) -> None:
    """Stores a moderator's settings of the console."""
    _set(connection, moderator.id, settings=dict(settings))
    audit.write(
        connection,
        moderator.name,
        "moderator.settings",
        f"moderator {moderator.name}",
        before=moderator.settings,
        after=settings,
    )


def _one(connection: Connection, condition: Any) -> Moderator | None:
    row = connection.execute(select(*_COLUMNS).where(condition)).one_or_none()
    return None if row is None else Moderator(**row._mapping)


def _set(connection: Connection, moderator_id: int, **values: Any) -> None:
    connection.execute(update(moderators).where(moderators.c.id == moderator_id).values(**values))


def _note_change(
    connection: Connection, actor: str, field: str, before: Moderator, after: str | None
) -> None:
    audit.write(
        connection,
        actor,
        f"moderator.{field}",
        f"moderator {before.name}",
        before={field: getattr(before, field)},
        after={field: after},
    )


def _end_links(connection: Connection, moderator_id: int) -> None:
    columns = sign_in_links.c
    connection.execute(
        delete(sign_in_links).where(columns.moderator_id == moderator_id, columns.used_at.is_(None))
    )


def _keep_an_admin(connection: Connection, changed: Moderator) -> None:
    columns = moderators.c
    if changed.role != "admin" or changed.disabled_at is not None:
        return
    # All of them are locked, so that two admins cannot end one another's at the same moment.
    connection.execute(select(columns.id).where(columns.role == "admin").with_for_update())
    left = connection.execute(
        select(func.count()).where(columns.role == "admin", columns.disabled_at.is_(None))
    ).scalar_one()
    if left == 0:
        raise ConfigurationError(
            f"{changed.name} is the last admin; make somebody else an admin first"
        )


def _check_email(email: str | None) -> None:
    if email is not None and (len(email) > 254 or not re.fullmatch(r"[^@\s]+@[^@\s]+", email)):
        raise ConfigurationError(f"{email[:80]!r} is not an e-mail address")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ConfigurationError(f"unknown role {role[:80]!r}; use one of {', '.join(ROLES)}")
