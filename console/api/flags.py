"""Flags through the JSON API: find, claim and decide them; undo and appeal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query, Request
from sqlalchemy import Connection

from console.api import review_shapes, shapes
from console.api.parts import Write, Writing, new_router
from console.api.shapes import Language, Limit, Moment, Word, Words
from console.web import reasons
from console.web.fields import RowId
from console.web.filters import cursor_of, position_of
from console.web.state import console_of, visitor_of
from console.work import around, author, blind, next_flag
from console.work.deciding import note_negative
from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.states import is_held
from storage.flags.worklist import Filter
from storage.reviews import second_looks

router = new_router()


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
    due_before: Moment | None = None,
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
        due_before=due_before,
        looks=visitor_of(request).moderator.is_lead,
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
def claim_next(write: Writing, wanted: shapes.ClaimNext | None = None) -> shapes.Claimed:
    """Take the best flag: what is held already, else the highest priority, then by the order of
    the list. Without a filter, whoever has views that are their work gets what is in those and
    nothing else, unless `everything` is true.
    """
    asked = wanted.model_dump(exclude_none=True) if wanted else {}
    everything = asked.pop("everything", False)
    queue = asked.pop("queue", None)
    seconds, looks = write.console.claim_seconds, write.me.is_lead

    def work(connection: Connection) -> shapes.Claimed:
        own = []
        if not (everything or queue or asked):
            own = next_flag.own_work(connection, write.me)
        if own:
            flag_id = next_flag.take_first(
                connection, write.me, own, claim_seconds=seconds, looks=looks
            )
        else:
            like = Filter(**asked) if asked else None
            flag_id = claims.claim_next(
                connection, write.me, claim_seconds=seconds, queue=queue, like=like, looks=looks
            )
        if flag_id is None:
            return shapes.Claimed(flag_id=None, claim_expires_at=None)
        until = worklist.one(connection, flag_id).claim_expires_at
        return shapes.Claimed(flag_id=flag_id, claim_expires_at=until)

    return write(shapes.Claimed, work, wanted)


@router.get("/api/v1/flags/{flag_id}")
def flag(request: Request, flag_id: RowId) -> shapes.Flag:
    """Give a flag in any state. Not while the token's moderator holds its second look, and looks at
    unflagged posts only to leads until they are decided.

    A negative post counts as seen by the token's moderator while they hold its flag.
    """
    blind.refuse_hidden(request, flag_id)
    with transaction(console_of(request).database, read_only=True) as connection:
        found = worklist.one(connection, flag_id)
    blind.refuse_look(request, found)
    is_mine = found.claimed_by == visitor_of(request).moderator.name
    if is_mine and is_held(claims.standing_of(found), datetime.now(UTC)):
        note_negative(request, found)
    return shapes.Flag.model_validate(found)


@router.get("/api/v1/flags/{flag_id}/thread")
def thread(request: Request, flag_id: RowId) -> shapes.Around:
    """Ask the platform for the posts that a flag's post answers, at most five, and whether the
    post has changed or gone. Nothing of the answer is stored.
    """
    blind.refuse_hidden(request, flag_id)
    console = console_of(request)
    with transaction(console.database, read_only=True) as connection:
        flag = worklist.one(connection, flag_id)
        known = around.known(connection, flag)
    return shapes.Around.model_validate(around.asked(console, flag, known))


@router.get("/api/v1/author")
def author_(
    request: Request, name: Annotated[str, Query(min_length=1, max_length=256)]
) -> shapes.Author:
    """Count an author's newest flags, at most 1,000, and what became of them. Each reading is noted
    in the audit log.
    """
    return shapes.Author.model_validate(author.read(request, name, limit=0))


@router.post("/api/v1/flags/{flag_id}/claim")
def claim(request: Request, flag_id: RowId, write: Writing) -> shapes.Claimed:
    """Take a certain flag."""
    return _claim(request, flag_id, write, claims.claim)


@router.post("/api/v1/flags/{flag_id}/renew")
def renew(request: Request, flag_id: RowId, write: Writing) -> shapes.Claimed:
    """Hold a flag for longer."""
    return _claim(request, flag_id, write, claims.renew)


@router.post("/api/v1/flags/{flag_id}/release")
def release(flag_id: RowId, write: Writing) -> shapes.Released:
    """Give a flag back."""

    def work(connection: Connection) -> shapes.Released:
        claims.release(connection, flag_id, write.me)
        return shapes.Released(flag_id=flag_id)

    return write(shapes.Released, work)


@router.post("/api/v1/flags/{flag_id}/decision", status_code=201)
def decide(
    request: Request, flag_id: RowId, wanted: shapes.Decide, write: Writing
) -> shapes.Decision:
    """Decide a flag, whether it was claimed before or not."""
    console = write.console
    code = reasons.check(console.reasons, wanted.action, wanted.reason_code)
    said = Said(
        reason_code=code,
        seen_verdict_id=wanted.verdict_id,
        **wanted.model_dump(exclude={"reason_code", "verdict_id"}),
    )
    blind.refuse_hidden(request, flag_id)

    def work(connection: Connection) -> shapes.Decision:
        made = decisions.decide(
            connection,
            flag_id,
            write.me,
            said,
            report=console.report_decisions,
            second_looks=console.second_looks,
        )
        return shapes.Decision.model_validate(made)

    return write(shapes.Decision, work, wanted)


@router.post("/api/v1/decisions/{decision_id}/undo", status_code=201)
def undo(decision_id: RowId, write: Writing) -> shapes.Decision:
    """Take a decision back, within a minute."""

    def work(connection: Connection) -> shapes.Decision:
        event = decisions.undo(
            connection,
            decision_id,
            write.me,
            claim_seconds=write.console.claim_seconds,
            report=write.console.report_decisions,
        )
        return shapes.Decision.model_validate(event)

    return write(shapes.Decision, work)


@router.post("/api/v1/flags/{flag_id}/appeal", status_code=201)
def appeal(
    flag_id: RowId, write: Writing, wanted: review_shapes.Appeal | None = None
) -> review_shapes.Appealed:
    """Have a decided flag looked at by somebody else; while an appeal waits, it is that one."""

    def work(connection: Connection) -> review_shapes.Appealed:
        why = wanted.why if wanted else None
        asked = second_looks.appeal(connection, flag_id, actor=write.me, why=why)
        return review_shapes.Appealed.model_validate(asked)

    return write(review_shapes.Appealed, work, wanted)


def _claim(
    request: Request, flag_id: int, write: Write, take: Callable[..., datetime]
) -> shapes.Claimed:
    blind.refuse_hidden(request, flag_id)

    def work(connection: Connection) -> shapes.Claimed:
        until = take(connection, flag_id, write.me, claim_seconds=write.console.claim_seconds)
        return shapes.Claimed(flag_id=flag_id, claim_expires_at=until)

    return write(shapes.Claimed, work)
