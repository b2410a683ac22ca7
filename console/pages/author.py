"""An author's page: their flags, what was decided, and how often posts were removed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from console.web.access import GuardedRoute
from console.web.fields import BeforeId
from console.web.render import page
from console.web.state import console_of, visitor_of
from console.work import author, blind
from storage.base.database import transaction
from storage.flags import decisions

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_ROWS = 50


@router.get("/author")
def author_page(
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=256)],
    before: BeforeId = None,
) -> Response:
    """What is known of an author. Each reading is noted in the audit log."""
    record = author.read(request, name, limit=_ROWS + 1, before_id=before)
    me = visitor_of(request).moderator
    shown = record.flags[:_ROWS]
    with transaction(console_of(request).database, read_only=True) as connection:
        said = decisions.of_flags(connection, [each.id for each in shown])
    return page(
        request,
        "author.html",
        record=record,
        rows=[(each, [d for d in said[each.id] if d.action != "skip"]) for each in shown],
        hidden_whys={each.id: blind.hides_why(me, each) for each in shown},
        may_decide=me.may("moderator"),
        before=before,
        more=shown[-1].id if len(record.flags) > _ROWS else None,
    )
