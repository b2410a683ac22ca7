"""Looking back: history, the audit log and what of it can be taken along."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import Response, StreamingResponse

from console.web.access import GuardedRoute
from console.web.fields import BeforeId, clean, one_page
from console.web.render import page
from console.web.state import audited, console_of, visitor_of
from storage.base.database import transaction
from storage.flags import decisions
from storage.people import audit
from storage.reports import labelled
from storage.reviews import reviews

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_ROWS = 50


@router.get("/history")
def history(request: Request, before: BeforeId = None, whose: str = "") -> Response:
    """Decisions, newest first."""
    me = visitor_of(request).moderator
    with transaction(console_of(request).database, read_only=True) as connection:
        rows = decisions.history(
            connection,
            limit=_ROWS + 1,
            before_id=before,
            moderator_id=me.id if whose == "mine" else None,
        )
        not_now = reviews.hidden_from(connection, me, {row.flag_id for row in rows})
    rows, more = one_page(rows, _ROWS)
    return page(
        request,
        "history.html",
        rows=[row for row in rows if row.flag_id not in not_now],
        more=more,
        whose=whose,
    )


@router.get("/audit")
def audit_page(
    request: Request, before: BeforeId = None, actor: str = "", action: str = ""
) -> Response:
    """Who did what."""
    actor, action = clean(actor), clean(action)
    with transaction(console_of(request).database, read_only=True) as connection:
        rows = audit.read(connection, limit=_ROWS + 1, before_id=before, actor=actor, action=action)
    rows, more = one_page(rows, _ROWS)
    return page(request, "audit.html", rows=rows, more=more, actor=actor, action=action)


@router.get("/audit.jsonl")
def audit_export(request: Request) -> Response:
    """The whole log, one entry a line, oldest first."""
    console = console_of(request)
    audited(request, "export", "audit log")

    def lines() -> Iterator[str]:
        with transaction(console.database, read_only=True) as connection:
            for entry in audit.read_all(connection):
                yield _line(asdict(entry))

    return _download(lines(), "audit.jsonl")


@router.get("/decisions.jsonl")
def decisions_export(request: Request) -> Response:
    """Every decision, one a line, newest first."""
    console = console_of(request)
    audited(request, "export", "decisions")

    def lines() -> Iterator[str]:
        before: int | None = None
        with transaction(console.database, read_only=True) as connection:
            while rows := decisions.history(connection, limit=1000, before_id=before):
                for row in rows:
                    yield _line(asdict(row))
                before = rows[-1].id

    return _download(lines(), "decisions.jsonl")


@router.get("/labelled-posts.zip")
def labelled_export(request: Request, since: str = "") -> Response:
    """Posts as moderators labelled them, with their pictures, for `deadpan train`."""
    console = console_of(request)
    since = clean(since)
    start = labelled.moment(since) if since else None
    audited(request, "export", "labelled posts", {"since": since} if since else None)

    def pieces() -> Iterator[bytes]:
        with transaction(console.database, read_only=True) as connection:
            yield from labelled.zipped(connection, console.evidence, since=start)

    return StreamingResponse(
        pieces(),
        media_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="labelled-posts.zip"'},
    )


def _line(row: dict[str, Any]) -> str:
    return json.dumps(jsonable_encoder(row), ensure_ascii=False) + "\n"


def _download(lines: Iterator[str], name: str) -> Response:
    return StreamingResponse(
        lines,
        media_type="application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
