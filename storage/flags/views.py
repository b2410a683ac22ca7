"""Views: filters of the queue with a name, somebody's own or shared, and whose work they are.

Queues and languages that belong to people are shared views that they are assigned to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select

from deadpan.core.errors import AccessDenied, ConfigurationError, NotFound
from storage.people import audit, moderators
from storage.people.moderators import Moderator
from storage.tables import ViewRow, view_people, views
from storage.tables import moderators as people

#: Of one person's own, and of shared ones.
MOST: Final = 50
_MOST_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class View(ViewRow):
    """A view.

    Attributes:
        people: names of those whose work it is; none of one's own.
    """

    people: tuple[str, ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether everybody sees it."""
        return self.owner_id is None


def save(
    connection: Connection,
    moderator: Moderator,
    name: str,
    *,
    queue: str,
    filters: str,
    shared: bool,
    now: datetime | None = None,
) -> View:
    """Saves filters under a name; those that had it before are replaced, and its people stay.

    Args:
        queue, filters: as `console.web.filters.Asked` gives them; the caller has checked them.

    Raises:
        AccessDenied: only leads share.
        ConfigurationError: the name cannot be used, or there are too many.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= _MOST_CHARACTERS or not name.isprintable():
        raise ConfigurationError(
            f"a view cannot be called {name[:80]!r}; use 1 to {_MOST_CHARACTERS} characters"
        )
    if shared and not moderator.is_lead:
        raise AccessDenied("only leads share views; save it for yourself", signed_in=True)
    owner_id = None if shared else moderator.id
    mine = views.c.owner_id.is_(None) if shared else views.c.owner_id == owner_id
    known = connection.execute(
        select(views.c.id).where(mine, views.c.name == name).with_for_update()
    ).scalar()
    if known is None:
        count = connection.execute(select(func.count()).select_from(views).where(mine)).scalar_one()
        if count >= MOST:
            raise ConfigurationError(f"there are {MOST} views already; delete one first")
        statement = views.insert().values(
            name=name,
            owner_id=owner_id,
            queue=queue,
            filters=filters,
            created_by=moderator.name,
            created_at=now if now is not None else datetime.now(UTC),
        )
        known = connection.execute(statement.returning(views.c.id)).scalar_one()
    else:
        changed = views.update().where(views.c.id == known)
        connection.execute(changed.values(queue=queue, filters=filters))
    after = {"name": name, "queue": queue, "filters": filters, "shared": shared}
    _note(connection, moderator, "view.save", known, after)
    return by_id(connection, moderator, known)


def seen_by(connection: Connection, moderator: Moderator) -> list[View]:
    """Returns the shared views and somebody's own, by name."""
    mine = or_(views.c.owner_id.is_(None), views.c.owner_id == moderator.id)
    rows = connection.execute(
        select(views).where(mine).order_by(views.c.owner_id.is_not(None), views.c.name, views.c.id)
    ).all()
    names = _people(connection, [row.id for row in rows])
    return [View(**row._mapping, people=names.get(row.id, ())) for row in rows]


def assigned_to(connection: Connection, moderator: Moderator) -> list[View]:
    """Returns the views that are somebody's work, by name."""
    statement = (
        select(views)
        .join(view_people, view_people.c.view_id == views.c.id)
        .where(view_people.c.moderator_id == moderator.id)
        .order_by(views.c.name, views.c.id)
    )
    return [View(**row._mapping) for row in connection.execute(statement)]


def by_id(connection: Connection, moderator: Moderator, view_id: int) -> View:
    """Returns a view that somebody may see; NotFound if there is none."""
    found = [each for each in seen_by(connection, moderator) if each.id == view_id]
    if not found:
        raise NotFound(f"there is no view {view_id}")
    return found[0]


def remove(connection: Connection, moderator: Moderator, view_id: int) -> None:
    """Removes a view, one's own or, by a lead, a shared one.

    Raises:
        AccessDenied: it is shared, and they are no lead.
        NotFound: there is no such view.
    """
    view = by_id(connection, moderator, view_id)
    if view.is_shared and not moderator.is_lead:
        raise AccessDenied("only leads delete shared views", signed_in=True)
    connection.execute(delete(view_people).where(view_people.c.view_id == view_id))
    connection.execute(delete(views).where(views.c.id == view_id))
    _note(connection, moderator, "view.delete", view_id, {"name": view.name})


def assign(
    connection: Connection, moderator: Moderator, view_id: int, names: Collection[str]
) -> View:
    """Makes a shared view the work of these people, and of nobody else.

    Raises:
        ConfigurationError: it is not shared, or one of them cannot decide flags.
        NotFound: there is no such view, or person.
    """
    view = by_id(connection, moderator, view_id)
    if not view.is_shared:
        raise ConfigurationError(f"view {view.name!r} is your own; share it before you assign it")
    chosen = [moderators.by_name(connection, name) for name in sorted(set(names))]
    for each in chosen:
        if each.disabled_at is not None or not each.may("moderator"):
            raise ConfigurationError(f"{each.name} cannot decide flags; choose somebody else")
    connection.execute(delete(view_people).where(view_people.c.view_id == view_id))
    if chosen:
        rows = [{"view_id": view_id, "moderator_id": each.id} for each in chosen]
        connection.execute(view_people.insert(), rows)
    after = {"name": view.name, "people": [each.name for each in chosen]}
    _note(connection, moderator, "view.assign", view_id, after, before=list(view.people))
    return by_id(connection, moderator, view_id)


def _people(connection: Connection, view_ids: Collection[int]) -> Mapping[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    statement = (
        select(view_people.c.view_id, people.c.name)
        .join(people, people.c.id == view_people.c.moderator_id)
        .where(view_people.c.view_id.in_(view_ids))
        .order_by(people.c.name)
    )
    for view_id, name in connection.execute(statement):
        found[view_id] = (*found.get(view_id, ()), name)
    return found


def _note(
    connection: Connection,
    moderator: Moderator,
    action: str,
    view_id: int,
    after: Mapping[str, Any],
    *,
    before: list[str] | None = None,
) -> None:
    audit.write(
        connection,
        moderator.name,
        action,
        f"view {view_id}",
        before=None if before is None else {"people": before},
        after=after,
    )
