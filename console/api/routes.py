"""The JSON API: what the pages do, for programs. Bearer tokens, problem+json, idempotency keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import Connection

from console.api import review_shapes, shapes
from console.api.parts import Key, new_router, write
from console.api.shapes import BeforeId, Language, Limit, Number, Word, Words
from console.web import reasons
from console.web.access import GuardedRoute
from console.web.filters import cursor_of, position_of
from console.web.state import console_of, visitor_of
from console.web.traced import of_pushed
from console.work import blind
from console.work.deciding import note_negative
from deadpan.core.errors import FlagConflict, NotFound
from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.states import is_held
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.people import audit
from storage.reviews import fairness, second_looks
from tasks.intake.arrivals import read_scaling
from tasks.intake.replay import replay as push_again

log = structlog.get_logger(__name__)

router = new_router()


@router.post("/api/v1/posts", status_code=202)
def enqueue(request: Request, wanted: shapes.Enqueue, key: Key = None) -> shapes.Pushed:
    """Have posts judged."""

    def work(_: Connection) -> BaseModel:
        context = of_pushed(request, len(wanted.post_ids))
        intake = console_of(request).intake
        pushed = intake.enqueue(wanted.post_ids, wanted.priority, trace=context)
        log.info("posts pushed", posts=pushed, priority=wanted.priority)
        return shapes.Pushed(pushed=pushed)

    return shapes.Pushed(**write(request, key, wanted, work))


@router.get("/api/v1/verdicts/{post_id:path}")
def verdict(
    request: Request,
    post_id: Annotated[str, Path(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")],
) -> shapes.Outcome:
    """Say what became of a post."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = queries.latest_verdict(connection, post_id)
        outcome = queries.outcome_of(connection, [post_id]).get(post_id)
        flagged = [each.id for each in worklist.of_post(connection, post_id, limit=20)]
    if flagged and blind.hidden(request, flagged):
        raise FlagConflict(blind.HIDDEN)
    if outcome is None:
        raise NotFound(f"post {post_id!r} has no outcome; it may still wait")
    return shapes.Outcome(
        post_id=post_id,
        outcome=outcome,
        verdict=shapes.Verdict.model_validate(found) if found else None,
    )


@router.get("/api/v1/flags")
def flags(
    request: Request,
    state: Literal["open", "claimed", "escalated", "decided", "unclosed"] = "unclosed",
    queue: Word | None = None,
    rule: Word | None = None,
    author: Word | None = None,
    post_id: Word | None = None,
    language: Language | None = None,
    words: Words | None = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
) -> shapes.Flags:
    """List flags, the highest priority first, then the oldest.

    What no index finds, such as words, is looked for in 20,000 flags at once: a page may be short
    or empty while its `next_cursor` still leads on.
    """
    wanted = Filter(
        states=tables.UNCLOSED_STATES if state == "unclosed" else (state,),
        queue=queue,
        rule=rule,
        author=author,
        post_id=post_id,
        language=language,
        words=words,
    )
    after = position_of(cursor or "")
    with transaction(console_of(request).database, read_only=True) as connection:
        found = worklist.search(connection, wanted, limit=limit + 1, after=after)
    shown = found.flags[:limit]
    end = shown[-1].position if len(found.flags) > limit else found.stopped_at
    not_now = blind.hidden(request, [each.id for each in shown])
    return shapes.Flags(
        flags=[shapes.Flag.model_validate(each) for each in shown if each.id not in not_now],
        next_cursor=cursor_of(end) if end else None,
    )


@router.post("/api/v1/claim-next")
def claim_next(
    request: Request, wanted: shapes.ClaimNext | None = None, key: Key = None
) -> shapes.Claimed:
    """Take the best flag: what is held already, else the highest priority, then the oldest."""
    console, me = console_of(request), visitor_of(request).moderator
    asked = wanted.model_dump(exclude_none=True) if wanted else {}
    queue = asked.pop("queue", None)

    def work(connection: Connection) -> BaseModel:
        flag_id = claims.claim_next(
            connection,
            me,
            claim_seconds=console.claim_seconds,
            queue=queue,
            like=Filter(**asked) if asked else None,
        )
        if flag_id is None:
            return shapes.Claimed(flag_id=None, claim_expires_at=None)
        until = worklist.one(connection, flag_id).claim_expires_at
        return shapes.Claimed(flag_id=flag_id, claim_expires_at=until)

    return shapes.Claimed(**write(request, key, wanted, work))


@router.get("/api/v1/flags/{flag_id}")
def flag(request: Request, flag_id: Number) -> shapes.Flag:
    """Give a flag in any state. Not while the token's moderator holds its second look.

    A negative post counts as seen by the token's moderator while they hold its flag.
    """
    blind.refuse_hidden(request, flag_id)
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database, read_only=True) as connection:
        found = worklist.one(connection, flag_id)
    is_mine = found.claimed_by == me.name and is_held(claims.standing_of(found), datetime.now(UTC))
    if is_mine:
        note_negative(request, found)
    return shapes.Flag.model_validate(found)


@router.post("/api/v1/flags/{flag_id}/claim")
def claim(request: Request, flag_id: Number, key: Key = None) -> shapes.Claimed:
    """Take a certain flag."""
    return _claim(request, flag_id, key, claims.claim)


@router.post("/api/v1/flags/{flag_id}/renew")
def renew(request: Request, flag_id: Number, key: Key = None) -> shapes.Claimed:
    """Hold a flag for longer."""
    return _claim(request, flag_id, key, claims.renew)


@router.post("/api/v1/flags/{flag_id}/release")
def release(request: Request, flag_id: Number, key: Key = None) -> shapes.Released:
    """Give a flag back."""

    def work(connection: Connection) -> BaseModel:
        claims.release(connection, flag_id, visitor_of(request).moderator)
        return shapes.Released(flag_id=flag_id)

    return shapes.Released(**write(request, key, None, work))


@router.post("/api/v1/flags/{flag_id}/decision", status_code=201)
def decide(
    request: Request, flag_id: Number, wanted: shapes.Decide, key: Key = None
) -> shapes.Decision:
    """Decide a flag, whether it was claimed before or not."""
    console, me = console_of(request), visitor_of(request).moderator
    code = reasons.check(console.reasons, wanted.action, wanted.reason_code)
    said = Said(
        wanted.action, code, wanted.note, wanted.sentiment, wanted.sarcastic, wanted.verdict_id
    )

    blind.refuse_hidden(request, flag_id)

    def work(connection: Connection) -> BaseModel:
        made = decisions.decide(
            connection,
            flag_id,
            me,
            said,
            report=console.report_decisions,
            second_looks=console.second_looks,
        )
        return shapes.Decision.model_validate(made)

    return shapes.Decision(**write(request, key, wanted, work))


@router.post("/api/v1/flags/{flag_id}/appeal", status_code=201)
def appeal(
    request: Request, flag_id: Number, wanted: review_shapes.Appeal | None = None, key: Key = None
) -> review_shapes.Appealed:
    """Have a decided flag looked at by somebody else; while an appeal waits, it is that one."""
    me = visitor_of(request).moderator

    def work(connection: Connection) -> BaseModel:
        why = wanted.why if wanted else None
        asked = second_looks.appeal(connection, flag_id, actor=me, why=why)
        return review_shapes.Appealed.model_validate(asked)

    return review_shapes.Appealed(**write(request, key, wanted, work))


@router.get("/api/v1/agreement")
def agreement(
    request: Request, days: Annotated[int, Query(ge=1, le=90)] = 30
) -> review_shapes.Agreement:
    """Say how much moderators agree, and how often they gave a known answer."""
    since = datetime.now(UTC) - timedelta(days=days)
    with transaction(console_of(request).database, read_only=True) as connection:
        found = fairness.agreement(connection, since=since)
        rates = fairness.hit_rates(connection, since=since)
    told = review_shapes.Agreement.model_validate(found)
    told.known_answers = [review_shapes.HitRate.model_validate(each) for each in rates]
    return told


@router.get("/api/v1/decisions")
def decision_list(request: Request, before: BeforeId = None, limit: Limit = 50) -> shapes.Decisions:
    """List decisions, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = decisions.history(connection, limit=limit + 1, before_id=before)
    not_now = blind.hidden(request, {each.flag_id for each in found})
    return shapes.Decisions(
        decisions=[
            shapes.Decision.model_validate(each)
            for each in found[:limit]
            if each.flag_id not in not_now
        ],
        next_before=found[limit - 1].id if len(found) > limit else None,
    )


@router.post("/api/v1/decisions/{decision_id}/undo", status_code=201)
def undo(request: Request, decision_id: Number, key: Key = None) -> shapes.Decision:
    """Take a decision back, within a minute."""
    console, me = console_of(request), visitor_of(request).moderator

    def work(connection: Connection) -> BaseModel:
        event = decisions.undo(
            connection,
            decision_id,
            me,
            claim_seconds=console.claim_seconds,
            report=console.report_decisions,
        )
        return shapes.Decision.model_validate(event)

    return shapes.Decision(**write(request, key, None, work))


@router.get("/api/v1/dead-letters")
def dead_letters(
    request: Request, before: BeforeId = None, limit: Limit = 50, replayed: bool = False
) -> shapes.DeadLetters:
    """List posts that could not be judged, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = queries.dead_letters(
            connection, limit=limit + 1, before_id=before, replayed=replayed
        )
    return shapes.DeadLetters(
        dead_letters=[shapes.DeadLetter.model_validate(each) for each in found[:limit]],
        next_before=found[limit - 1].id if len(found) > limit else None,
    )


@router.post("/api/v1/dead-letters/{letter_id}/replay")
def replay(request: Request, letter_id: Number, key: Key = None) -> shapes.Replayed:
    """Push the post of a dead letter again."""

    def work(connection: Connection) -> BaseModel:
        if queries.dead_letter(connection, letter_id) is None:
            raise NotFound(f"there is no dead letter {letter_id}")
        pushed = push_again(connection, [letter_id], console_of(request).intake)
        me = visitor_of(request).moderator
        audit.write(connection, me.name, "dead-letter.replay", f"dead letter {letter_id}")
        return shapes.Replayed(replayed=pushed)

    return shapes.Replayed(**write(request, key, None, work))


@router.get("/api/v1/audit")
def audit_log(request: Request, before: BeforeId = None, limit: Limit = 50) -> shapes.Entries:
    """Read the audit log, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = audit.read(connection, limit=limit + 1, before_id=before)
    return shapes.Entries(
        entries=[shapes.Entry.model_validate(each) for each in found[:limit]],
        next_before=found[limit - 1].id if len(found) > limit else None,
    )


@router.get("/api/v1/scaling")
def scaling(request: Request) -> shapes.Scaling:
    """Say how many workers are wanted; 404 rather than a number that is out of date."""
    told = read_scaling(console_of(request).intake, fresh=True)
    if told is None:
        raise NotFound("nobody says how many workers are wanted; run `deadpan autoscale`")
    return shapes.Scaling.model_validate(told)


document = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@document.get("/api/v1/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


def _claim(
    request: Request, flag_id: int, key: str | None, take: Callable[..., datetime]
) -> shapes.Claimed:
    console, me = console_of(request), visitor_of(request).moderator
    blind.refuse_hidden(request, flag_id)

    def work(connection: Connection) -> BaseModel:
        until = take(connection, flag_id, me, claim_seconds=console.claim_seconds)
        return shapes.Claimed(flag_id=flag_id, claim_expires_at=until)

    return shapes.Claimed(**write(request, key, None, work))
