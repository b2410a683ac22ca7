"""A flag's page: the post, why it was flagged, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import Connection

from console.web.access import GuardedRoute
from console.web.fields import BIGGEST, Note, RowId, Short
from console.web.render import page, part, see_other
from console.web.state import audited, console_of, visitor_of
from console.work import around, blind
from console.work.deciding import Decided, DecisionForm, note_negative, seconds_left
from console.work.next_flag import Arrival, SentWithin, done_banner, lost_words, take_next
from console.work.pictures import KINDS
from console.work.post import pictures_of, post_of
from deadpan.core.errors import ConfigurationError, DeadpanError, FlagConflict, NotFound
from storage.base.database import transaction
from storage.flags import claims, comments, decisions, summons, worklist
from storage.flags.states import is_held
from storage.flags.worklist import Flag
from storage.judging import explanations, queries
from storage.people import exposures, moderators
from storage.reviews import known_answers, reviews

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_EARLIER = 8


@router.get("/flags/{flag_id}")
def flag_page(request: Request, flag_id: RowId, arrival: Annotated[Arrival, Depends()]) -> Response:
    """All that is known of a flag."""
    return _page(request, flag_id, arrival)


@router.get("/flags/{flag_id}/thread")
def thread(request: Request, flag_id: RowId) -> Response:
    """What the platform says now of the post: what it answers, whether it changed. A part of the
    page, which a script puts there."""
    blind.refuse_hidden(request, flag_id)
    console = console_of(request)
    with transaction(console.database, read_only=True) as connection:
        flag = worklist.one(connection, flag_id)
        known = around.known(connection, flag)
    found = around.asked(console, flag, known)
    return part(request, "thread.html", flag=flag, around=found, asks=False)


@router.get("/flags/{flag_id}/explanation")
def explanation_state(request: Request, flag_id: RowId) -> JSONResponse:
    """How far a flag's explanation has come: pending, done or failed, or none; asked by a page that
    waits for it."""
    blind.refuse_hidden(request, flag_id)
    with transaction(console_of(request).database, read_only=True) as connection:
        flag = worklist.one(connection, flag_id)
        found = explanations.of_flag(connection, flag.id, flag.verdict_id)
    hidden = blind.hides_why(visitor_of(request).moderator, flag)
    return JSONResponse({"state": found.state if found and not hidden else "none"})


@router.post("/flags/{flag_id}/claim")
def claim(request: Request, flag_id: RowId, within: SentWithin) -> Response:
    """Take this flag; where somebody was faster, the next one of the list."""
    console, me = console_of(request), visitor_of(request).moderator
    within.asked()
    try:
        blind.refuse_hidden(request, flag_id)
        with transaction(console.database) as connection:
            claims.claim(connection, flag_id, me, claim_seconds=console.claim_seconds)
    except FlagConflict:
        return take_next(request, within, missed=flag_id)
    return see_other(within.address(f"/flags/{flag_id}"))


@router.post("/flags/{flag_id}/renew")
def renew(request: Request, flag_id: RowId) -> JSONResponse:
    """Hold this flag for longer; asked by a page whose reader is active."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        claims.renew(connection, flag_id, me, claim_seconds=console.claim_seconds)
    return JSONResponse({"seconds": console.claim_seconds})


@router.post("/flags/{flag_id}/release")
def release(request: Request, flag_id: RowId) -> Response:
    """Give this flag back."""
    with transaction(console_of(request).database) as connection:
        claims.release(connection, flag_id, visitor_of(request).moderator)
    return see_other("/")


@router.post("/flags/{flag_id}/hand-over")
def hand_over(request: Request, flag_id: RowId, to: Short = "", text: Note = "") -> Response:
    """Give this flag to somebody, with a comment if there is something to say."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        receiver = moderators.by_name(connection, to)
        claims.hand_over(connection, flag_id, me, receiver, claim_seconds=console.claim_seconds)
        if text.strip():
            comments.add(connection, flag_id, me, text)
    return see_other("/")


@router.post("/flags/{flag_id}/comments")
def comment(request: Request, flag_id: RowId, within: SentWithin, text: Note = "") -> Response:
    """Say something to others about this flag."""
    blind.refuse_hidden(request, flag_id)
    with transaction(console_of(request).database) as connection:
        comments.add(connection, flag_id, visitor_of(request).moderator, text)
    return see_other(within.address(f"/flags/{flag_id}") + "#comments")


@router.post("/flags/{flag_id}/decide")
def decide(
    request: Request,
    flag_id: RowId,
    form: Decided,
    within: SentWithin,
    verdict_id: Annotated[int | None, Form(ge=1, le=BIGGEST)] = None,
) -> Response:
    """Decide, and go on to the next flag. What was typed is never lost: a conflict shows it."""
    console, me = console_of(request), visitor_of(request).moderator
    try:
        within.asked()
        said = form.said(console.reasons, seen_verdict_id=verdict_id)
        with transaction(console.database) as connection:
            made = decisions.decide(
                connection,
                flag_id,
                me,
                said,
                report=console.report_decisions,
                second_looks=console.second_looks,
            )
    except (FlagConflict, ConfigurationError) as error:
        if blind.hidden(request, [flag_id]):
            raise FlagConflict(f"someone else was faster; {blind.HIDDEN}{form.kept_note}") from None
        arrival = Arrival(within.queue, within.filters)
        return _page(request, flag_id, arrival, typed=form, error=error)
    return take_next(request, within, after=made.id)


@router.post("/decisions/{decision_id}/undo")
def undo(request: Request, decision_id: RowId) -> Response:
    """Take a decision back, and hold its flag again."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        event = decisions.undo(
            connection,
            decision_id,
            me,
            claim_seconds=console.claim_seconds,
            report=console.report_decisions,
        )
    return see_other(f"/flags/{event.flag_id}")


@router.get("/evidence/{sha256}")
def picture(
    request: Request, sha256: str, kind: Annotated[str, Query(alias="as")] = "full"
) -> Response:
    """A picture as it was kept, or a preview. Every look at one that shows something is noted."""
    console, me = console_of(request), visitor_of(request).moderator
    if kind not in KINDS or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise NotFound("no such picture")
    with transaction(console.database, read_only=True) as connection:
        if queries.evidence_kind(connection, sha256) != "image":
            raise NotFound("no such picture")
    content = pictures_of(request).bytes_of(sha256, kind)
    if kind != "blur":
        subject = f"evidence {sha256}"
        audited(request, "picture.view", subject, {"as": kind})
        exposures.note(console.database, me, "picture", subject)
    return Response(content, media_type="image/jpeg")


def _page(
    request: Request,
    flag_id: int,
    arrival: Arrival,
    *,
    typed: DecisionForm | None = None,
    error: DeadpanError | None = None,
) -> Response:
    console, visitor, now = console_of(request), visitor_of(request), datetime.now(UTC)
    me = visitor.moderator
    with transaction(console.database, read_only=True) as connection:
        held_look = reviews.hidden_from(connection, me, [flag_id])
        if held_look.get(flag_id):
            return see_other(f"/reviews/{held_look[flag_id]}")
        if held_look:
            raise FlagConflict(blind.HIDDEN)
        flag = worklist.one(connection, flag_id)
        known_around = around.known(connection, flag)
        explanation = explanations.of_flag(connection, flag.id, flag.verdict_id)
        earlier = _earlier(connection, flag)
        not_now = reviews.hidden_from(connection, me, [each.id for each in earlier])
        earlier = [each for each in earlier if each.id not in not_now]
        looks = reviews.of_flag(connection, flag.id) if me.is_lead else []
        known = known_answers.of_flag(connection, flag.id) if me.is_lead else None
        said = decisions.of_flags(connection, [flag.id, *(each.id for each in earlier)])
        banner = done_banner(connection, me, arrival.after, "", now)
        lost = lost_words(connection, arrival.missed, me, now)
        said_of_it = comments.of_flag(connection, flag.id)
        is_new = any(
            each.flag_id == flag.id for each in summons.waiting_for(connection, me, limit=500)
        )
        others = [
            each.name
            for each in moderators.everyone(connection)
            if each.may("moderator") and each.disabled_at is None and each.id != me.id
        ]
    if is_new:
        with transaction(console.database) as connection:
            summons.see(connection, me, flag.id, now=now)
    asks = console.source is not None
    if asks and arrival.thread == "now":
        known_around, asks = around.asked(console, flag, known_around), False
    if explanation is not None and explanation.state == "pending":
        with transaction(console.database) as connection:
            explanations.want(connection, flag.id)
    if me.may("moderator"):
        note_negative(request, flag)
    held = is_held(claims.standing_of(flag), now)
    mine = flag.state == "claimed" and flag.claimed_by == me.name
    own = [each for each in said[flag.id] if each.may_be_undone(me, now)]
    may_take = not (held and not mine) and (flag.escalated_at is None or me.is_lead or mine)
    return page(
        request,
        "flag.html",
        status=200 if error is None else 409 if isinstance(error, FlagConflict) else 422,
        flag=flag,
        verdict=flag.verdict,
        post=post_of(request, visitor, flag, arrival.pictures, explanation),
        around=known_around,
        asks=asks,
        hides_why=blind.hides_why(me, flag),
        hidden_whys={each.id: blind.hides_why(me, each) for each in earlier},
        history=said[flag.id],
        looks=looks,
        known=known,
        earlier=[(each, said[each.id]) for each in earlier],
        others=others,
        comments=said_of_it,
        held=held,
        mine=mine,
        may_decide=me.may("moderator") and flag.state != "decided" and may_take,
        left=seconds_left(flag.claim_expires_at, now) if mine else 0,
        undo=own[-1] if own else None,
        undo_seconds=decisions.UNDO_SECONDS,
        queue=arrival.queue,
        filters=arrival.filters,
        banner=banner,
        lost=lost,
        escalation=_escalation(flag, said[flag.id]),
        typed=typed or {},
        error=error,
    )


def _escalation(flag: Flag, history: list[decisions.Decision]) -> decisions.Decision | None:
    """Who escalated a flag that waits for a lead, and what they wrote."""
    if flag.escalated_at is None or flag.state == "decided":
        return None
    asked = [each for each in history if each.action == "escalate" and not each.undone]
    return max(asked, key=lambda each: each.id, default=None)


def _earlier(connection: Connection, flag: Flag) -> list[Flag]:
    """Flags of the same author, and of the same post where the author is unknown."""
    found = (
        worklist.of_author(connection, flag.author, limit=_EARLIER + 1)
        if flag.author
        else worklist.of_post(connection, flag.post_id, limit=_EARLIER + 1)
    )
    return [each for each in found if each.id != flag.id][:_EARLIER]
