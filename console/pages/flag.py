"""A flag's page: the post, why it was flagged, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import JSONResponse, Response

from console.pages.pictures import KINDS
from console.pages.post import pictures_of, post_of
from console.pages.queue import (
    MAX_FILTERS_CHARACTERS,
    Filters,
    done_banner,
    lost_words,
    number,
    take_next,
)
from console.web import reasons
from console.web.access import GuardedRoute
from console.web.filters import asked_of
from console.web.render import page, see_other
from console.web.state import address_of, console_of, visitor_of
from console.work import blind
from console.work.deciding import Decided, DecisionForm, note_negative, seconds_left
from deadpan.core.errors import ConfigurationError, DeadpanError, FlagConflict, NotFound
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.states import is_held
from storage.flags.worklist import Flag
from storage.judging import queries
from storage.people import audit, exposures, moderators
from storage.reviews import known_answers, reviews

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_EARLIER = 8


@router.get("/flags/{flag_id}")
def flag_page(
    request: Request,
    flag_id: int,
    queue: str = "",
    filters: Annotated[str, Query(max_length=MAX_FILTERS_CHARACTERS)] = "",
    pictures: str = "",
    after: str = "",
    missed: str = "",
) -> Response:
    """All that is known of a flag."""
    return _page(
        request,
        flag_id,
        queue=queue,
        filters=filters,
        pictures=pictures,
        after=number(after),
        missed=number(missed),
    )


@router.post("/flags/{flag_id}/claim")
def claim(
    request: Request,
    flag_id: int,
    queue: Annotated[str, Form(max_length=64)] = "",
    filters: Filters = "",
) -> Response:
    """Take this flag; where somebody was faster, the next one of the list."""
    console, me = console_of(request), visitor_of(request).moderator
    wanted, asked = number_of(flag_id), asked_of(queue, filters)
    try:
        blind.refuse_hidden(request, wanted)
        with transaction(console.database) as connection:
            claims.claim(connection, wanted, me, claim_seconds=console.claim_seconds)
    except FlagConflict:
        return see_other(take_next(request, asked, missed=wanted))
    within = urlencode({k: v for k, v in (("queue", queue), ("filters", filters)) if v})
    return see_other(f"/flags/{flag_id}" + (f"?{within}" if within else ""))


@router.post("/flags/{flag_id}/renew")
def renew(request: Request, flag_id: int) -> JSONResponse:
    """Hold this flag for longer; asked by a page whose reader is active."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        claims.renew(connection, number_of(flag_id), me, claim_seconds=console.claim_seconds)
    return JSONResponse({"seconds": console.claim_seconds})


@router.post("/flags/{flag_id}/release")
def release(request: Request, flag_id: int) -> Response:
    """Give this flag back."""
    with transaction(console_of(request).database) as connection:
        claims.release(connection, number_of(flag_id), visitor_of(request).moderator)
    return see_other("/")


@router.post("/flags/{flag_id}/hand-over")
def hand_over(
    request: Request, flag_id: int, to: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Give this flag to somebody."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        receiver = moderators.by_name(connection, to)
        claims.hand_over(
            connection, number_of(flag_id), me, receiver, claim_seconds=console.claim_seconds
        )
    return see_other("/")


@router.post("/flags/{flag_id}/decide")
def decide(
    request: Request,
    flag_id: int,
    form: Decided,
    verdict_id: Annotated[int | None, Form(ge=1, lt=2**63)] = None,
    queue: Annotated[str, Form(max_length=64)] = "",
    filters: Filters = "",
) -> Response:
    """Decide, and go on to the next flag. What was typed is never lost: a conflict shows it."""
    console, me = console_of(request), visitor_of(request).moderator
    try:
        within = asked_of(queue, filters)
        said = form.said(console.reasons, seen_verdict_id=verdict_id)
        with transaction(console.database) as connection:
            made = decisions.decide(
                connection,
                number_of(flag_id),
                me,
                said,
                report=console.report_decisions,
                second_looks=console.second_looks,
            )
    except (FlagConflict, ConfigurationError) as error:
        if blind.hidden(request, [number_of(flag_id)]):
            raise FlagConflict(f"somebody was faster; {blind.HIDDEN}{form.kept_note}") from None
        return _page(request, flag_id, queue=queue, filters=filters, typed=form, error=error)
    return see_other(take_next(request, within, after=made.id))


@router.post("/decisions/{decision_id}/undo")
def undo(request: Request, decision_id: int) -> Response:
    """Take a decision back, and hold its flag again."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        event = decisions.undo(
            connection,
            number_of(decision_id),
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
        raise NotFound("there is no such picture")
    with transaction(console.database, read_only=True) as connection:
        if queries.evidence_kind(connection, sha256) != "image":
            raise NotFound("there is no such picture")
    content = pictures_of(request).bytes_of(sha256, kind)
    if kind != "blur":
        with transaction(console.database) as connection:
            audit.write(
                connection,
                me.name,
                "picture.view",
                f"evidence {sha256}",
                after={"as": kind},
                address=address_of(request),
            )
        exposures.note(console.database, me, "picture", f"evidence {sha256}")
    return Response(content, media_type="image/jpeg")


def _page(
    request: Request,
    flag_id: int,
    *,
    queue: str = "",
    filters: str = "",
    pictures: str = "",
    after: int | None = None,
    missed: int | None = None,
    typed: DecisionForm | None = None,
    error: DeadpanError | None = None,
) -> Response:
    console, visitor = console_of(request), visitor_of(request)
    me, now = visitor.moderator, datetime.now(UTC)
    with transaction(console.database, read_only=True) as connection:
        held_look = reviews.hidden_from(connection, me, [number_of(flag_id)])
        if held_look.get(flag_id):
            return see_other(f"/reviews/{held_look[flag_id]}")
        if held_look:
            raise FlagConflict(blind.HIDDEN)
        flag = worklist.one(connection, flag_id)
        earlier = _earlier(connection, flag)
        not_now = reviews.hidden_from(connection, me, [each.id for each in earlier])
        earlier = [each for each in earlier if each.id not in not_now]
        looks = reviews.of_flag(connection, flag.id) if me.is_lead else []
        known = known_answers.of_flag(connection, flag.id) if me.is_lead else None
        said = decisions.of_flags(connection, [flag.id, *(each.id for each in earlier)])
        banner = done_banner(connection, me, after, "", now)
        lost = lost_words(connection, missed, me, now)
        others = [
            each.name
            for each in moderators.everyone(connection)
            if each.may("moderator") and each.disabled_at is None and each.id != me.id
        ]
    if me.may("moderator"):
        note_negative(request, flag)
    standing = claims.standing_of(flag)
    held = is_held(standing, now)
    mine = flag.state == "claimed" and flag.claimed_by == me.name
    own = [d for d in said[flag.id] if d.may_be_undone(me, now)]
    may_take = not (held and not mine) and (flag.escalated_at is None or me.is_lead or mine)
    status = 200
    if error is not None:
        status = 409 if isinstance(error, FlagConflict) else 422
    return page(
        request,
        "flag.html",
        status=status,
        flag=flag,
        verdict=flag.verdict,
        post=post_of(request, visitor, flag, pictures),
        history=said[flag.id],
        looks=looks,
        known=known,
        earlier=[(each, said[each.id]) for each in earlier],
        others=others,
        held=held,
        mine=mine,
        may_decide=me.may("moderator") and flag.state != "decided" and may_take,
        left=seconds_left(flag.claim_expires_at, now) if mine else 0,
        undo=own[-1] if own else None,
        undo_seconds=decisions.UNDO_SECONDS,
        reasons=console.reasons,
        need_a_reason=reasons.NEED_A_REASON,
        queue=queue,
        filters=filters,
        banner=banner,
        lost=lost,
        escalation=_escalation(flag, said[flag.id]),
        typed=typed or {},
        error=error,
        now=now,
    )


def _escalation(flag: Flag, history: list[decisions.Decision]) -> decisions.Decision | None:
    """Who asked a lead about a flag that waits for one, and what they wrote."""
    if flag.escalated_at is None or flag.state == "decided":
        return None
    asked = [each for each in history if each.action == "escalate" and not each.undone]
    return max(asked, key=lambda each: each.id, default=None)


def _earlier(connection: Any, flag: Flag) -> list[Flag]:
    """Flags of the same author, and of the same post where the author is not known."""
    found = (
        worklist.of_author(connection, flag.author, limit=_EARLIER + 1)
        if flag.author
        else worklist.of_post(connection, flag.post_id, limit=_EARLIER + 1)
    )
    return [each for each in found if each.id != flag.id][:_EARLIER]


def number_of(number: int) -> int:
    """A number of an address, if there can be such a row.

    Raises:
        NotFound: there cannot.
    """
    if not 0 < number < 2**63:
        raise NotFound(f"there is no number {number}")
    return number
