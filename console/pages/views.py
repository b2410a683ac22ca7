"""Views of the queue: saved, shared, and whose work they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from console.web.access import GuardedRoute
from console.web.fields import CleanForm, RowId, Short
from console.web.filters import asked_of
from console.web.render import page, see_other
from console.web.state import console_of, visitor_of
from console.work.next_flag import SentWithin
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.flags import views
from storage.people import moderators

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@router.get("/views")
def views_page(request: Request) -> Response:
    """Those that somebody sees."""
    return _page(request)


@router.post("/views")
def save(
    request: Request, within: SentWithin, name: CleanForm = "", shared: Short = ""
) -> Response:
    """Save the filters of a list under a name."""
    me, asked = visitor_of(request).moderator, within.asked()
    try:
        with transaction(console_of(request).database) as connection:
            views.save(
                connection,
                me,
                name,
                queue=asked.queue,
                filters=asked.filters,
                shared=bool(shared),
            )
    except ConfigurationError as error:
        return _page(request, status=422, problem=str(error))
    return see_other(f"/?{asked.query()}")


@router.post("/views/{view_id}/delete")
def delete(request: Request, view_id: RowId) -> Response:
    """Delete one."""
    with transaction(console_of(request).database) as connection:
        views.remove(connection, visitor_of(request).moderator, view_id)
    return see_other("/views")


@router.post("/views/{view_id}/people")
def assign(
    request: Request, view_id: RowId, who: Annotated[list[Short] | None, Form()] = None
) -> Response:
    """Say whose work a shared view is."""
    with transaction(console_of(request).database) as connection:
        views.assign(connection, visitor_of(request).moderator, view_id, who or [])
    return see_other("/views")


def _page(request: Request, *, status: int = 200, **context: Any) -> Response:
    me = visitor_of(request).moderator
    with transaction(console_of(request).database, read_only=True) as connection:
        found = views.seen_by(connection, me)
        everyone = moderators.everyone(connection)
    people = [each.name for each in everyone if each.may("moderator") and each.disabled_at is None]
    rows = [(each, asked_of(each.queue, each.filters)) for each in found]
    return page(request, "views.html", status=status, rows=rows, people=people, **context)
