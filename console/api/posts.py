"""Posts through the JSON API: have them judged, what became of them, those that failed, and how
many workers they need."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Path, Request
from sqlalchemy import Connection

from console.api import shapes
from console.api.parts import Writing, new_router
from console.api.shapes import Limit
from console.web.fields import BeforeId, RowId, one_page
from console.web.state import console_of
from console.web.traced import of_pushed
from console.work import blind
from deadpan.core.errors import FlagConflict, NotFound
from storage.base.database import transaction
from storage.flags import worklist
from storage.judging import queries
from storage.people import audit
from tasks.intake.arrivals import read_scaling
from tasks.intake.replay import replay as push_again

log = structlog.get_logger(__name__)

router = new_router()


@router.post("/api/v1/posts", status_code=202)
def enqueue(request: Request, wanted: shapes.Enqueue, write: Writing) -> shapes.Pushed:
    """Have posts judged."""

    def work(_: Connection) -> shapes.Pushed:
        context = of_pushed(request, len(wanted.post_ids))
        pushed = write.console.intake.enqueue(wanted.post_ids, wanted.priority, trace=context)
        log.info("posts pushed", posts=pushed, priority=wanted.priority)
        return shapes.Pushed(pushed=pushed)

    return write(shapes.Pushed, work, wanted)


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
        raise NotFound(f"post {post_id!r} has no outcome; it may still be waiting")
    return shapes.Outcome(
        post_id=post_id,
        outcome=outcome,
        verdict=shapes.Verdict.model_validate(found) if found else None,
    )


@router.get("/api/v1/dead-letters")
def dead_letters(
    request: Request, before: BeforeId = None, limit: Limit = 50, replayed: bool = False
) -> shapes.DeadLetters:
    """List posts that could not be judged, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = queries.dead_letters(
            connection, limit=limit + 1, before_id=before, replayed=replayed
        )
    shown, more = one_page(found, limit)
    return shapes.DeadLetters(
        dead_letters=[shapes.DeadLetter.model_validate(each) for each in shown], next_before=more
    )


@router.post("/api/v1/dead-letters/{letter_id}/replay")
def replay(letter_id: RowId, write: Writing) -> shapes.Replayed:
    """Push the post of a dead letter again."""

    def work(connection: Connection) -> shapes.Replayed:
        if queries.dead_letter(connection, letter_id) is None:
            raise NotFound(f"no dead letter {letter_id}")
        pushed = push_again(connection, [letter_id], write.console.intake)
        audit.write(connection, write.me.name, "dead-letter.replay", f"dead letter {letter_id}")
        return shapes.Replayed(replayed=pushed)

    return write(shapes.Replayed, work)


@router.get("/api/v1/scaling")
def scaling(request: Request) -> shapes.Scaling:
    """Say how many workers are wanted; 404 rather than a number that is out of date."""
    told = read_scaling(console_of(request).intake, fresh=True)
    if told is None:
        raise NotFound("there is no recommended number of workers; run `deadpan autoscale`")
    return shapes.Scaling.model_validate(told)
