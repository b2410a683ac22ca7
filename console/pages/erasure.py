"""Erasing a post or an author: what would go is shown first."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from console.web.access import GuardedRoute
from console.web.fields import clean
from console.web.render import page
from console.web.state import console_of, visitor_of
from console.work.pictures import Pictures
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.keeping import erasure
from storage.keeping.erasure import Kind
from tasks.housekeeping.erasure import erase

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_RECEIPTS = 20
_MAX_CHARACTERS = 256
Subject = Annotated[str, Form(max_length=1024)]


@router.get("/erasure")
def form(request: Request) -> Response:
    """What to erase, and the receipts of what was."""
    return _page(request)


@router.post("/erasure/preview")
def preview(request: Request, kind: Annotated[str, Form()], subject: Subject) -> Response:
    """What would go; nothing goes."""
    wanted, of = _subject(kind, subject)
    with transaction(console_of(request).database) as connection:
        found = erasure.preview(connection, wanted, of)
    return _page(request, preview=found.counts(), kind=wanted, subject=of)


@router.post("/erasure")
def confirmed(
    request: Request,
    kind: Annotated[str, Form()],
    subject: Subject,
    sure: Annotated[str, Form()] = "",
) -> Response:
    """Erase it for good."""
    wanted, of = _subject(kind, subject)
    if sure != "yes":
        raise ConfigurationError("tick the box to confirm; until then nothing is erased")
    console = console_of(request)
    found = erase(
        console.database,
        console.evidence,
        wanted,
        of,
        requested_by=visitor_of(request).moderator.name,
    )
    console.changed()
    console.forget_texts()
    cast(Pictures, request.app.state.pictures).forget()
    return _page(request, done=found)


def _subject(kind: str, subject: str) -> tuple[Kind, str]:
    if len(subject.strip()) > _MAX_CHARACTERS:
        # Cut, it would be another one.
        raise ConfigurationError(
            f"{subject.strip()[:40]!r}… has {len(subject.strip())} characters; ids and authors "
            f"have at most {_MAX_CHARACTERS}, so nothing is erased"
        )
    subject = clean(subject)
    if kind not in ("post", "author") or not subject:
        raise ConfigurationError("enter a post id or an author, and choose which of the two it is")
    return cast(Kind, kind), subject


def _page(request: Request, **more: Any) -> Response:
    with transaction(console_of(request).database, read_only=True) as connection:
        receipts = erasure.receipts(connection, limit=_RECEIPTS)
    return page(request, "erasure.html", receipts=receipts, **more)
