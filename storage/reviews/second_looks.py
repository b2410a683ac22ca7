"""The work of second looks: who takes which, what they say, and appeals. All are blind."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, case, or_, select, true

from deadpan.core.errors import ConfigurationError, FlagConflict, NotFound
from storage import tables
from storage.base.text import primary_language
from storage.flags import claims, decisions
from storage.flags.decisions import MAX_NOTE_CHARACTERS, Said
from storage.flags.states import Claim, Decide, Escalate, Event, Release, Renew, Skip
from storage.people.moderators import Moderator
from storage.reviews import known_answers
from storage.reviews.reviews import (
    by_id,
    change,
    has_not_lapsed,
    is_for_others,
    lock,
    note,
    open_look,
    votes,
)
from storage.tables import UNCLOSED_STATES, Review, Vote, review_votes, reviews

_CHANCE: Final = secrets.SystemRandom()


def take_next(
    connection: Connection,
    moderator: Moderator,
    *,
    claim_seconds: float,
    queue: str | None = None,
    language: str | None = None,
    known_share: float = 0.0,
    now: datetime | None = None,
    draw: Callable[[], float] = _CHANCE.random,
) -> int | None:
    """Takes a second look for a moderator, and returns its id, or None when none waits for them:
    what they hold already; for leads, what is to be settled; an appeal; the oldest of the rest; now
    and then one whose answer is known.

    Nobody is given a flag that they had a part in; see `reviews.is_for_others` for small teams.

    Args:
        known_share: how often a known answer is asked for, from 0 to 1.
        draw: returns a random number from 0 to 1.
    """
    moment = now if now is not None else datetime.now(UTC)
    until = moment + timedelta(seconds=claim_seconds)
    held = connection.execute(
        select(reviews.c.id)
        .where(
            reviews.c.state == "claimed",
            reviews.c.claimed_by == moderator.name,
            reviews.c.claim_expires_at > moment,
        )
        .limit(1)
    ).scalar_one_or_none()
    if held is not None:
        return int(held)
    row = connection.execute(_best(moderator, queue, language, moment)).one_or_none()
    if row is None and draw() < known_share:
        row = known_answers.ask(connection, moderator, queue=queue, language=language, now=moment)
    if row is None:
        return None
    change(connection, row, Claim(moderator.name, until, moderator.is_lead), moment)
    note(connection, moderator, "review.claim", row.id, now=moment)
    return int(row.id)


def take(
    connection: Connection,
    review_id: int,
    moderator: Moderator,
    *,
    claim_seconds: float,
    now: datetime | None = None,
) -> datetime:
    """Takes a certain look, and returns until when. Taking what one already holds renews it.

    Raises:
        FlagConflict: somebody holds it, it is settled or not for them, or they had a part in it.
        NotFound: there is no such look.
    """
    moment = now if now is not None else datetime.now(UTC)
    until = moment + timedelta(seconds=claim_seconds)
    row = lock(connection, review_id)
    if row.kind == "known" and row.for_moderator_id != moderator.id:
        raise NotFound(f"there is no second look {review_id}")
    statement = select(is_for_others(moderator)).where(reviews.c.id == review_id)
    if connection.execute(statement).scalar_one():
        raise FlagConflict("you had a part in this flag; somebody else has to look at it")
    if row.opened_at > moment:
        raise FlagConflict("this second look is not open yet; take the next one")
    change(connection, row, Claim(moderator.name, until, moderator.is_lead), moment)
    note(connection, moderator, "review.claim", review_id, now=moment)
    return until


def renew(
    connection: Connection,
    review_id: int,
    moderator: Moderator,
    *,
    claim_seconds: float,
    now: datetime | None = None,
) -> datetime:
    """Goes on holding a look, and returns until when; FlagConflict if it is no longer theirs."""
    moment = now if now is not None else datetime.now(UTC)
    until = moment + timedelta(seconds=claim_seconds)
    change(connection, lock(connection, review_id), Renew(moderator.name, until), moment)
    return until


def release(
    connection: Connection, review_id: int, moderator: Moderator, *, now: datetime | None = None
) -> None:
    """Gives a look back, which may come again; FlagConflict if they do not hold it."""
    moment = now if now is not None else datetime.now(UTC)
    change(connection, lock(connection, review_id), Release(moderator.name), moment)
    note(connection, moderator, "review.release", review_id, now=moment)


def vote(
    connection: Connection,
    review_id: int,
    moderator: Moderator,
    said: Said,
    *,
    report: bool = False,
    now: datetime | None = None,
) -> Vote:
    """Stores what a moderator says in a second look; saying the same again returns the vote that is
    there. Only the vote on an appeal is a decision of the flag, and told to the platform if
    `report`.

    Raises:
        ConfigurationError: escalating, which a second look cannot.
        FlagConflict: they do not hold it, or the flag has moved on.
        NotFound: there is no such look.
    """
    if said.action == "escalate":
        raise ConfigurationError("a second look cannot be escalated; approve, remove or skip")
    moment = now if now is not None else datetime.now(UTC)
    # The flag first, as everywhere, so that two never deadlock.
    flag = claims.lock(connection, by_id(connection, review_id).flag_id)
    row = lock(connection, review_id)
    mine = [each for each in votes(connection, review_id) if each.moderator_id == moderator.id]
    if mine and mine[-1].action == said.action:
        return mine[-1]
    if row.state != "claimed" or row.claimed_by != moderator.name:
        raise FlagConflict("your claim on this second look has expired; take the next one")
    settles = row.escalated_at is not None and said.action != "skip"
    change(connection, row, _event(row, moderator, said), moment)
    decision_id = None
    if row.kind == "appeal" and said.action != "skip":
        decision_id = decisions.decide_appeal(
            connection, flag, moderator, said, report=report, now=moment
        )
    statement = review_votes.insert().values(
        review_id=review_id,
        moderator_id=moderator.id,
        action=said.action,
        reason_code=said.reason_code,
        note=said.cleaned_note,
        sentiment=said.sentiment,
        sarcastic=said.sarcastic,
        offensive=said.offensive,
        settles=settles,
        decision_id=decision_id,
        created_at=moment,
    )
    written = connection.execute(statement.returning(review_votes.c.id)).scalar_one()
    after = {"vote": written, "action": said.action, "settles": settles, "decision": decision_id}
    note(connection, moderator, "review.vote", review_id, after=after, now=moment)
    return next(each for each in votes(connection, review_id) if each.id == written)


def appeal(
    connection: Connection,
    flag_id: int,
    *,
    actor: Moderator,
    why: str | None = None,
    now: datetime | None = None,
) -> Review:
    """Has a decided flag looked at again by somebody who had no part in it. Asking again while an
    appeal waits returns that one.

    Args:
        actor: who asks; it may be a program of the platform.
        why: the reason for the appeal.

    Raises:
        ConfigurationError: `why` is too long.
        FlagConflict: the flag is not decided by anybody.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    if why is not None and len(why) > MAX_NOTE_CHARACTERS:
        raise ConfigurationError(
            f"the reason has {len(why)} characters; the limit is {MAX_NOTE_CHARACTERS}"
        )
    flag = claims.lock(connection, flag_id)
    waiting = connection.execute(
        select(reviews).where(
            reviews.c.flag_id == flag_id,
            reviews.c.kind == "appeal",
            reviews.c.state.in_(UNCLOSED_STATES),
        )
    ).first()
    if waiting is not None:
        return Review(**waiting._mapping)
    number = open_look(connection, flag, "appeal", opened_at=moment, asked_by=actor.name, why=why)
    note(connection, actor, "review.appeal", number, after={"flag": flag_id}, now=moment)
    # What two disagree on is settled by the appeal: nobody is asked for both.
    claims.close_waiting(
        connection,
        reviews,
        reviews.c.flag_id == flag_id,
        reviews.c.kind.in_(("sample", "disagreement")),
        reviews.c.escalated_at.is_not(None),
        now=moment,
    )
    return by_id(connection, number)


def _event(row: Row[Any], moderator: Moderator, said: Said) -> Event:
    name, lead = moderator.name, moderator.is_lead
    if said.action == "skip":
        return Skip(name, lead)
    assert said.action in ("approve", "remove")
    ends = row.kind in ("appeal", "known") or row.escalated_at is not None
    if ends or said.action == row.expected:
        return Decide(name, said.action, lead)
    return Escalate(name, lead)


def _best(moderator: Moderator, queue: str | None, language: str | None, now: datetime) -> Any:
    columns = reviews.c
    over = and_(columns.state == "claimed", columns.claim_expires_at <= now)
    for_all = columns.escalated_at.is_(None)
    statement = (
        select(reviews)
        .join(tables.flags, tables.flags.c.id == columns.flag_id)
        .where(
            or_(columns.state.in_(("open", "escalated")), over),
            true() if moderator.is_lead else for_all,
            columns.opened_at <= now,
            or_(columns.for_moderator_id.is_(None), columns.for_moderator_id == moderator.id),
            has_not_lapsed(now),
            ~is_for_others(moderator),
            true() if queue is None else tables.flags.c.queue == queue,
            true() if language is None else tables.flags.c.language == primary_language(language),
        )
        .order_by(
            case((for_all, 1), else_=0),
            case((columns.kind == "appeal", 0), else_=1),
            columns.opened_at,
            columns.id,
        )
        .limit(1)
    )
    return statement.with_for_update(skip_locked=True, of=reviews)
