"""The queue: what waits, filtered; and the next flag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from console.web.access import GuardedRoute
from console.web.fields import JustDone, Short
from console.web.filters import AGES, DUES, Asked, cursor_of, position_of
from console.web.render import page
from console.web.state import console_of, visitor_of
from console.web.words import excerpt
from console.work import blind
from console.work.next_flag import SentWithin, done_banner, lost_words, take_next
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.flags import claims, summons, views, worklist
from storage.reviews import reviews

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@router.get("/")
def queue_page(
    request: Request,
    asked: Annotated[Asked, Depends()],
    cursor: str = "",
    after: JustDone = None,
    batch: str = "",
    empty: str = "",
    missed: JustDone = None,
) -> Response:
    """What waits. Invalid filters are explained next to their fields, and none is lost."""
    console, me, now = console_of(request), visitor_of(request).moderator, datetime.now(UTC)
    asked = asked.named_as(console.known().rules)
    problems, position = dict(asked.problems), None
    try:
        position = position_of(cursor)
    except ConfigurationError as error:
        problems["cursor"] = str(error)
    with transaction(console.database, read_only=True) as connection:
        # Nothing is listed rather than what was not asked for: it could be decided all at once.
        found = (
            worklist.Found([], None)
            if problems
            else worklist.search(
                connection, asked.filter(blind=me.is_lead), limit=asked.rows + 1, after=position
            )
        )
        not_now = reviews.hidden_from(connection, me, [each.id for each in found.flags])
        asked_for = summons.waiting_for(connection, me, limit=20)
        secret = reviews.hidden_from(connection, me, [each.flag_id for each in asked_for])
        seen_views = views.seen_by(connection, me)
        mine = worklist.many(connection, claims.held_by(connection, me, now=now))
        banner = done_banner(connection, me, after, batch, now)
        lost = lost_words(connection, missed, me, now)
    flags = found.flags[: asked.rows]
    end = flags[-1].position if len(found.flags) > asked.rows else found.stopped_at
    rows = [
        {
            "flag": flag,
            "text": excerpt(console.text(flag.verdict.evidence, "original_text")),
            "hides_why": blind.hides_why(me, flag),
        }
        for flag in flags
        if flag.id not in not_now
    ]
    return page(
        request,
        "queue.html",
        status=422 if problems else 200,
        rows=rows,
        asked=asked,
        problems=problems,
        known=console.known(),
        ages=AGES,
        dues=DUES,
        overdue=console.overdue(),
        mine=mine,
        asked_for=[each for each in asked_for if each.flag_id not in secret],
        views=seen_views,
        own_work=[each for each in seen_views if me.name in each.people],
        banner=banner,
        lost=lost,
        empty=empty,
        cursor=cursor,
        stopped=found.stopped_at is not None,
        searched=worklist.SEARCHED_AT_ONCE,
        onwards=asked.query(cursor=cursor_of(end)) if end else "",
        judging=not rows and console.judging(),
    )


@router.get("/counts")
def counts(request: Request, judging: bool = False) -> JSONResponse:
    """What waits, for a page that is open for long; and whether posts are being judged, for one
    that is empty."""
    console = console_of(request)
    waiting = console.waiting()
    said = {"queues": waiting, "open": sum(q["open"] for q in waiting.values())}
    return JSONResponse(said | ({"judging": console.judging()} if judging else {}))


@router.post("/next")
def next_flag(request: Request, within: SentWithin, everything: Short = "") -> Response:
    """Take the best flag of the list that is open, and go to it."""
    return take_next(request, within, from_all=bool(everything))
