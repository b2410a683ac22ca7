"""Second looks: the page that hides what was decided, the vote, and what a lead can ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from console.web.access import GuardedRoute
from console.web.fields import BIGGEST, Note, RowId, Short, one_page
from console.web.render import page, part, see_other
from console.web.state import console_of, visitor_of
from console.work import around, blind
from console.work.deciding import Decided, DecisionForm, note_negative, seconds_left
from console.work.next_flag import Arrival, SentWithin, done_banner, lost_words, take_next
from console.work.post import post_of
from deadpan.core.errors import ConfigurationError, FlagConflict
from storage import tables
from storage.base.database import transaction
from storage.flags import worklist
from storage.people.moderators import Moderator
from storage.reviews import known_answers, reviews, second_looks

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_ROWS = 50


@router.get("/reviews")
def to_settle(request: Request, after: Annotated[int, Query(ge=0, le=BIGGEST)] = 0) -> Response:
    """What waits for a lead: where two disagree, and appeals. It tells nothing of what was said."""
    return _to_settle(request, after=after)


def _to_settle(
    request: Request, *, after: int = 0, missed: str = "", status: int = 200
) -> Response:
    me, now = visitor_of(request).moderator, datetime.now(UTC)
    with transaction(console_of(request).database, read_only=True) as connection:
        rows = reviews.to_settle(connection, me, limit=_ROWS + 1, after_id=after, now=now)
        others = reviews.others(connection, now=now)
    rows, more = one_page(rows, _ROWS)
    return page(
        request,
        "reviews.html",
        status=status,
        missed=missed,
        rows=rows,
        after=after,
        more=more,
        others=others,
    )


@router.post("/reviews/{review_id}/claim")
def claim(request: Request, review_id: RowId) -> Response:
    """Take a certain look; where somebody was faster, the list says so."""
    console, me = console_of(request), visitor_of(request).moderator
    try:
        with transaction(console.database) as connection:
            second_looks.take(connection, review_id, me, claim_seconds=console.claim_seconds)
    except FlagConflict as error:
        return _to_settle(request, missed=f"Second look {review_id}: {error}.", status=409)
    return see_other(f"/reviews/{review_id}")


@router.get("/reviews/{review_id}")
def review_page(
    request: Request, review_id: RowId, arrival: Annotated[Arrival, Depends()]
) -> Response:
    """The post alone; after the vote, also the decision."""
    return _page(request, review_id, arrival)


@router.get("/reviews/{review_id}/thread")
def thread(request: Request, review_id: RowId) -> Response:
    """What the post answers. Not whether it is still there: that would tell what was decided."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database, read_only=True) as connection:
        review = reviews.by_id(connection, review_id)
        said = reviews.votes(connection, review.id)
        flag = worklist.one(connection, review.flag_id)
    _refuse_others(review, me, said)
    found = around.blindly(around.asked(console, flag, around.of_verdict(flag)))
    return part(request, "thread.html", flag=flag, around=found, asks=False)


@router.post("/reviews/{review_id}/vote")
def vote(request: Request, review_id: RowId, form: Decided, within: SentWithin) -> Response:
    """Vote; nothing that was typed is lost."""
    console, me = console_of(request), visitor_of(request).moderator
    try:
        within.asked()
        said = form.said(console.reasons)
        with transaction(console.database) as connection:
            made = second_looks.vote(
                connection, review_id, me, said, report=console.report_decisions
            )
    except ConfigurationError as error:
        arrival = Arrival(within.queue, within.filters)
        return _page(request, review_id, arrival, typed=form, error=error)
    except FlagConflict as error:
        raise FlagConflict(f"{error}{form.kept_note}") from None
    if made.action == "skip":
        return take_next(request, within, skipped=review_id)
    return see_other(within.address(f"/reviews/{review_id}"))


@router.post("/reviews/{review_id}/renew")
def renew(request: Request, review_id: RowId) -> JSONResponse:
    """Hold it for longer; asked by a page whose reader is active."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        second_looks.renew(connection, review_id, me, claim_seconds=console.claim_seconds)
    return JSONResponse({"seconds": console.claim_seconds})


@router.post("/reviews/{review_id}/release")
def release(request: Request, review_id: RowId) -> Response:
    """Give it back."""
    with transaction(console_of(request).database) as connection:
        second_looks.release(connection, review_id, visitor_of(request).moderator)
    return see_other("/")


@router.post("/flags/{flag_id}/appeal")
def appeal(request: Request, flag_id: RowId, why: Note = "") -> Response:
    """Have somebody else look at what was decided."""
    with transaction(console_of(request).database) as connection:
        second_looks.appeal(
            connection,
            flag_id,
            actor=visitor_of(request).moderator,
            why=why.strip() or None,
        )
    return see_other(f"/flags/{flag_id}")


@router.post("/flags/{flag_id}/known-answer")
def known_answer(request: Request, flag_id: RowId, action: Short = "", why: Note = "") -> Response:
    """Say that the right answer to this flag is known, and why, or is not known any more."""
    me = visitor_of(request).moderator
    with transaction(console_of(request).database) as connection:
        known_answers.mark(connection, flag_id, action, me, why=why)
    return see_other(f"/flags/{flag_id}")


def _page(
    request: Request,
    review_id: int,
    arrival: Arrival,
    *,
    typed: DecisionForm | None = None,
    error: ConfigurationError | None = None,
) -> Response:
    console, visitor, now = console_of(request), visitor_of(request), datetime.now(UTC)
    me = visitor.moderator
    with transaction(console.database, read_only=True) as connection:
        review = reviews.by_id(connection, review_id)
        said = reviews.votes(connection, review.id)
        looks = reviews.of_flag(connection, review.flag_id)
        flag = worklist.one(connection, review.flag_id)
        lesson = known_answers.lesson(connection, review.id, me)
        banner = done_banner(connection, me, arrival.after, "", now)
        lost = lost_words(connection, arrival.missed, me, now)
    mine, own = _refuse_others(review, me, said)
    asks, known_around = console.source is not None, around.of_verdict(flag)
    if asks and arrival.thread == "now":
        known_around, asks = around.asked(console, flag, known_around), False
    if mine:
        note_negative(request, flag)
    hidden = bool(blind.hidden(request, [flag.id]))
    return page(
        request,
        "review.html",
        status=200 if error is None else 422,
        review=review,
        flag=flag,
        mine=mine,
        own=own[-1] if own else None,
        lesson=lesson,
        around=around.blindly(known_around),
        asks=asks,
        banner=banner,
        lost=lost,
        hidden=hidden,
        appealed=any(
            look.kind == "appeal" and look.state in tables.UNCLOSED_STATES for look in looks
        ),
        post=post_of(request, visitor, flag, arrival.pictures),
        path=f"/reviews/{review.id}",
        left=seconds_left(review.claim_expires_at, now) if mine else 0,
        queue=arrival.queue,
        filters=arrival.filters,
        typed=typed or {},
        error=error,
    )


def _refuse_others(
    review: tables.Review, me: Moderator, said: list[tables.Vote]
) -> tuple[bool, list[tables.Vote]]:
    """Whether somebody holds a look, and their votes in it.

    Raises:
        FlagConflict: neither.
    """
    mine = review.state == "claimed" and review.claimed_by == me.name
    own = [each for each in said if each.moderator_id == me.id]
    if not mine and not own:
        raise FlagConflict("this second look is not claimed by you; take the next one")
    return mine, own
