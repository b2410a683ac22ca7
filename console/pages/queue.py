"""The queue: what waits, filtered; and the next flag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, Response

from console.web.access import GuardedRoute
from console.web.filters import AGES, Asked, asked_of, clean, cursor_of, position_of
from console.web.render import page, see_other
from console.web.state import console_of, visitor_of
from console.web.words import brief
from deadpan.core.errors import ConfigurationError, NotFound
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.states import is_held
from storage.reviews import reviews, second_looks

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_EXCERPT = 240
#: Five fields of 256 characters, each written as up to twelve.
MAX_FILTERS_CHARACTERS = 16_000
Filters = Annotated[str, Form(max_length=MAX_FILTERS_CHARACTERS)]


@router.get("/")
def queue_page(
    request: Request,
    state: str = "open",
    queue: str = "",
    rule: str = "",
    author: str = "",
    post: str = "",
    words: str = "",
    language: str = "",
    negative: str = "",
    sarcasm: str = "",
    age: str = "",
    size: str = "",
    cursor: str = "",
    after: str = "",
    batch: str = "",
    empty: str = "",
    missed: str = "",
) -> Response:
    """What waits. What cannot be read of the filters is said beside them, and none is lost."""
    console, me = console_of(request), visitor_of(request).moderator
    asked = Asked(
        state=clean(state) or "open",
        queue=clean(queue),
        rule=clean(rule),
        author=clean(author),
        post=clean(post),
        words=clean(words),
        language=clean(language),
        negative=clean(negative),
        sarcasm=clean(sarcasm),
        age=clean(age),
        size=clean(size),
    ).named_as(console.known().rules)
    problems, position = dict(asked.problems), None
    try:
        position = position_of(cursor)
    except ConfigurationError as error:
        problems["cursor"] = str(error)
    now = datetime.now(UTC)
    with transaction(console.database, read_only=True) as connection:
        # Nothing is listed rather than what was not asked for: it could be decided all at once.
        found = (
            worklist.Found([], None)
            if problems
            else worklist.search(connection, asked.filter(), limit=asked.rows + 1, after=position)
        )
        flags = found.flags
        not_now = reviews.hidden_from(connection, me, [each.id for each in flags])
        mine = worklist.many(connection, claims.held_by(connection, me, now=now))
        banner = done_banner(connection, me, number(after), batch, now)
        lost = lost_words(connection, number(missed), me, now)
    more = len(flags) > asked.rows
    flags = flags[: asked.rows]
    last = flags[-1].position if more else None
    flags = [each for each in flags if each.id not in not_now]
    rows = [
        {"flag": flag, "text": excerpt(console.text(flag.verdict.evidence, "original_text"))}
        for flag in flags
    ]
    end = last or found.stopped_at
    onwards = cursor_of(end) if end else ""
    return page(
        request,
        "queue.html",
        status=422 if problems else 200,
        rows=rows,
        asked=asked,
        problems=problems,
        known=console.known(),
        ages=AGES,
        mine=mine,
        banner=banner,
        lost=lost,
        empty=empty,
        cursor=cursor,
        stopped=found.stopped_at is not None,
        searched=worklist.SEARCHED_AT_ONCE,
        onwards=asked.query(cursor=onwards) if onwards else "",
        reasons=console.reasons,
        judging=not rows and console.judging(),
        now=now,
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
def next_flag(
    request: Request,
    queue: Annotated[str, Form(max_length=64)] = "",
    filters: Filters = "",
) -> Response:
    """Take the best flag of the list that is open, and go to it."""
    return see_other(take_next(request, asked_of(queue, filters)))


def take_next(request: Request, within: Asked, **shown: Any) -> str:
    """Takes the best flag for whoever is signed in, and gives the address to go to.

    Second looks are chosen by queue and language alone: by scores or words, a filter would tell of
    them what is hidden.
    """
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        asked: dict[str, Any] = {
            "claim_seconds": console.claim_seconds,
            "queue": within.queue or None,
        }
        like = within.filter()
        # Second looks are few, so they come first; what is held comes before all.
        look = flag_id = None
        if not claims.held_by(connection, me, now=datetime.now(UTC)):
            look = second_looks.take_next(
                connection, me, known_share=console.known_share, language=like.language, **asked
            )
        if look is None:
            flag_id = claims.claim_next(
                connection, me, like=like if within.is_filtered else None, **asked
            )
    fields = {"queue": within.queue, "filters": within.filters, **shown}
    if look is not None:
        path = f"/reviews/{look}"
    elif flag_id is not None:
        path = f"/flags/{flag_id}"
    else:
        return f"/?{within.query(**{k: str(v) for k, v in shown.items()}, empty='1')}"
    query = urlencode({k: v for k, v in fields.items() if v})
    return f"{path}?{query}" if query else path


def done_banner(
    connection: Any, me: Any, after: int | None, batch: str, now: datetime
) -> dict[str, Any] | None:
    """What was just done, with a way to undo it while there is time."""
    if batch:
        made = [d for d in decisions.of_batch(connection, clean(batch)) if d.action != "undo"]
        if not made or made[0].moderator_id != me.id:
            return None
        left = [d for d in made if d.may_be_undone(me, now)]
        ids = [d.flag_id for d in made]
        return _banner(made[0], now, f"{len(made)} flags", bool(left), f"/bulk/{batch}/undo", ids)
    if after is None:
        return None
    try:
        decision = decisions.by_id(connection, after)
    except NotFound:
        return None
    if decision.moderator_id != me.id:
        return None
    undo = f"/decisions/{decision.id}/undo"
    may = decision.may_be_undone(me, now)
    return _banner(decision, now, f"Post {decision.post_id}", may, undo, [decision.flag_id])


def lost_words(connection: Any, flag_id: int | None, me: Any, now: datetime) -> str:
    """What became of a flag that somebody wanted and did not get, for they have the next one now;
    nothing where there is nothing to say."""
    if flag_id is None:
        return ""
    try:
        flag = worklist.one(connection, flag_id)
    except NotFound:
        return ""
    post = f"post {brief(flag.post_id)}"
    # Of what is to be looked at a second time not even that it is decided.
    if reviews.hidden_from(connection, me, [flag_id]):
        return f"P{post[1:]} is not to be had any more."
    if flag.state == "decided":
        return f"P{post[1:]} was decided a moment before."
    if is_held(claims.standing_of(flag), now):
        return "" if flag.claimed_by == me.name else f"{flag.claimed_by} took {post} before you."
    return f"P{post[1:]} {'waits for a lead' if flag.escalated_at else 'was not to be had'}."


def _banner(
    decision: decisions.Decision,
    now: datetime,
    what: str,
    may: bool,
    path: str,
    flags: list[int],
) -> dict[str, Any]:
    left = decisions.UNDO_SECONDS - (now - decision.created_at).total_seconds()
    return {
        "what": what,
        "flags": flags,
        "action": decision.action,
        "undone": decision.undone,
        "undo": path if may else "",
        "seconds": max(0, int(left)),
    }


def number(given: str) -> int | None:
    """A row's number as an address has it; None where it has none that could be one."""
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1].rstrip() + "…"
