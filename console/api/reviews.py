"""Second looks through the JSON API: take one, look, vote. As blind as the pages."""

from __future__ import annotations

from fastapi import Request
from sqlalchemy import Connection

from console.api import review_shapes, shapes
from console.api.parts import Writing, new_router
from console.api.shapes import Limit
from console.web import reasons
from console.web.fields import BeforeId, RowId, one_page
from console.web.state import console_of, visitor_of
from console.work import blind
from console.work.deciding import note_negative
from deadpan.core.errors import FlagConflict
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.decisions import Said
from storage.reviews import known_answers, reviews, second_looks
from storage.reviews.reviews import Look

router = new_router()


@router.get("/api/v1/reviews")
def review_list_(
    request: Request, before: BeforeId = None, limit: Limit = 50
) -> review_shapes.Looks:
    """List the second looks that the token's moderator holds or voted in, newest first."""
    me = visitor_of(request).moderator
    with transaction(console_of(request).database, read_only=True) as connection:
        found = reviews.own(connection, me, limit=limit + 1, before_id=before)
        shown, more = one_page(found, limit)
        told = _told(request, connection, shown)
    return review_shapes.Looks(reviews=told, next_before=more)


@router.post("/api/v1/claim-next-review")
def claim_next(
    request: Request, write: Writing, wanted: shapes.ClaimNextReview | None = None
) -> review_shapes.NextLook:
    """Take a second look, to be read by its id: what is held already; for leads what is to be
    settled; then an appeal, then the oldest of the others.
    """

    def work(connection: Connection) -> review_shapes.NextLook:
        number = second_looks.take_next(
            connection,
            write.me,
            claim_seconds=write.console.claim_seconds,
            queue=wanted.queue if wanted else None,
            language=wanted.language if wanted else None,
            known_share=write.console.known_answer_share,
        )
        if number is None:
            return review_shapes.NextLook(review=None)
        (told,) = _told(request, connection, [_own(request, connection, number)])
        return review_shapes.NextLook(review=told)

    return write(review_shapes.NextLook, work, wanted)


@router.get("/api/v1/reviews/{review_id}")
def review(request: Request, review_id: RowId) -> review_shapes.LookAt:
    """Give a second look that the token's moderator holds or voted in, with the post."""
    console = console_of(request)
    with transaction(console.database, read_only=True) as connection:
        look = _own(request, connection, review_id)
        flag = worklist.one(connection, look.flag_id)
        (told,) = _told(request, connection, [look])
    if look.held_by == visitor_of(request).moderator.name:
        note_negative(request, flag)
    return review_shapes.LookAt(
        **dict(told),
        text=console.text(flag.verdict.evidence, "original_text"),
        pictures=[each["sha256"] for each in flag.verdict.evidence if each["kind"] == "image"],
        degraded=list(flag.verdict.degraded),
        unread=list(flag.verdict.unread),
        language=flag.verdict.language,
        unlearnt=flag.verdict.unlearnt,
    )


@router.post("/api/v1/reviews/{review_id}/vote", status_code=201)
def vote(
    request: Request, review_id: RowId, wanted: review_shapes.Vote, write: Writing
) -> review_shapes.Look:
    """Say what one thinks of it; a skip gives it to somebody else."""
    console = write.console
    code = reasons.check(console.reasons, wanted.action, wanted.reason_code)
    said = Said(reason_code=code, **wanted.model_dump(exclude={"reason_code"}))

    def work(connection: Connection) -> review_shapes.Look:
        second_looks.vote(connection, review_id, write.me, said, report=console.report_decisions)
        (told,) = _told(request, connection, [_own(request, connection, review_id)])
        return told

    return write(review_shapes.Look, work, wanted)


@router.post("/api/v1/reviews/{review_id}/renew")
def renew(review_id: RowId, write: Writing) -> review_shapes.HeldLook:
    """Hold it for longer."""
    seconds = write.console.claim_seconds

    def work(connection: Connection) -> review_shapes.HeldLook:
        until = second_looks.renew(connection, review_id, write.me, claim_seconds=seconds)
        return review_shapes.HeldLook(review_id=review_id, claim_expires_at=until)

    return write(review_shapes.HeldLook, work)


@router.post("/api/v1/reviews/{review_id}/release")
def release(review_id: RowId, write: Writing) -> review_shapes.ReleasedLook:
    """Give it back."""

    def work(connection: Connection) -> review_shapes.ReleasedLook:
        second_looks.release(connection, review_id, write.me)
        return review_shapes.ReleasedLook(review_id=review_id)

    return write(review_shapes.ReleasedLook, work)


def _own(request: Request, connection: Connection, review_id: int) -> Look:
    """The look, if its reader holds it or has voted in it."""
    reviews.by_id(connection, review_id)
    me = visitor_of(request).moderator
    for look in reviews.own(connection, me, limit=1, before_id=review_id + 1):
        if look.id == review_id:
            return look
    raise FlagConflict("this second look is not claimed by you; take the next one")


def _told(request: Request, connection: Connection, looks: list[Look]) -> list[review_shapes.Look]:
    """As much as may be told: after a vote also what was decided before, as the page does."""
    me = visitor_of(request).moderator
    not_now = blind.of(connection, visitor_of(request), [each.flag_id for each in looks])
    told = []
    for each in looks:
        shown = review_shapes.Look.model_validate(each)
        said = [v for v in reviews.votes(connection, each.id) if v.moderator_id == me.id]
        if each.held_by != me.name:
            shown.claim_expires_at = None
        if said:
            shown.vote = review_shapes.Voted.model_validate(said[-1])
            if said[-1].action != "skip" and each.flag_id not in not_now:
                shown.decided_before = reviews.by_id(connection, each.id).expected
                missed = known_answers.lesson(connection, each.id, me)
                shown.lesson = review_shapes.Lesson.model_validate(missed) if missed else None
        told.append(shown)
    return told
