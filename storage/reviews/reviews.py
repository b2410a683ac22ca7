"""Second looks: what they are, who had a part in them, and from whom a flag is hidden meanwhile.

A look stands where a flag stands, and the same function says how it changes: a vote that agrees
closes it; one that does not leaves it to a lead to settle.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, case, exists, func, literal, or_, select

from deadpan.core.errors import FlagConflict, NotFound
from storage import tables
from storage.base.text import clean_text
from storage.flags import claims, decisions
from storage.flags.decisions import MAX_NOTE_CHARACTERS
from storage.flags.states import Event
from storage.people import audit
from storage.people.moderators import Moderator
from storage.tables import UNCLOSED_STATES, Review, Vote, review_votes, reviews

#: A look of the sample that nobody took within a week is not asked for any more.
LAPSES_AFTER: Final = timedelta(days=7)


def by_id(connection: Connection, review_id: int) -> Review:
    """Returns a second look; NotFound if there is none."""
    row = connection.execute(select(reviews).where(reviews.c.id == review_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no second look {review_id}")
    return Review(**row._mapping)


def of_flag(connection: Connection, flag_id: int) -> list[Review]:
    """Returns the looks at a flag's decisions, oldest first, without known answers."""
    statement = (
        select(reviews)
        .where(reviews.c.flag_id == flag_id, reviews.c.kind != "known")
        .order_by(reviews.c.id)
    )
    return [Review(**row._mapping) for row in connection.execute(statement)]


def votes(connection: Connection, review_id: int) -> list[Vote]:
    """Returns what was said in a second look, oldest first."""
    statement = select(review_votes).where(review_votes.c.review_id == review_id)
    rows = connection.execute(statement.order_by(review_votes.c.id))
    return [Vote(**row._mapping) for row in rows]


def hidden_from(
    connection: Connection,
    moderator: Moderator,
    flag_ids: Collection[int],
    *,
    now: datetime | None = None,
) -> dict[int, int | None]:
    """Returns the flags whose decisions and scores this person may not see now: those they hold for
    a second look, with the look's id; and, for moderators (leads watch over the work), those that
    they may still be given, with None.
    """
    moment = now if now is not None else datetime.now(UTC)
    columns = reviews.c
    holds = and_(columns.state == "claimed", columns.claimed_by == moderator.name)
    may_come = and_(
        columns.state.in_(UNCLOSED_STATES),
        columns.for_moderator_id.is_(None),
        has_not_lapsed(moment),
        ~had_a_part(literal(moderator.id)),
    )
    what = or_(holds, may_come) if moderator.role == "moderator" else holds
    rows = connection.execute(
        select(columns.flag_id, case((holds, columns.id)))
        .where(columns.flag_id.in_(list(flag_ids)), what)
        .order_by(columns.id)
    )
    found: dict[int, int | None] = {}
    for flag_id, held in rows:
        found[flag_id] = held if held is not None else found.get(flag_id)
    return found


def has_not_lapsed(now: datetime) -> Any:
    """Whether a look is still asked for, as a condition."""
    columns = reviews.c
    return or_(
        columns.opened_at > now - LAPSES_AFTER,
        columns.kind == "appeal",
        columns.escalated_at.is_not(None),
    )


def had_a_part(who: Any, flag_id: Any = reviews.c.flag_id) -> Any:
    """Whether somebody said anything of a flag, as a decision or in a look: a condition on their id
    and the flag's, which may be columns.

    Written as "is among those who spoke of this flag": asked for "a decision of this flag and this
    moderator", SQLite walks all decisions of the moderator (766 ms for 5,000 looks, measured).
    """
    other, made = reviews.alias("other"), tables.decisions.c
    voted = (
        select(review_votes.c.moderator_id)
        .join(other, other.c.id == review_votes.c.review_id)
        .where(other.c.flag_id == flag_id)
    )
    return or_(who.in_(select(made.moderator_id).where(made.flag_id == flag_id)), who.in_(voted))


def is_for_others(moderator: Moderator) -> Any:
    """Whether somebody else has to look, as a condition: who had a part in the flag does not.

    In a small team everybody may have had one by the time of an appeal. Then anybody may look
    except whoever made the decision under appeal, so that it never waits forever.
    """
    me = literal(moderator.id)
    made = select(tables.decisions.c.moderator_id).where(
        tables.decisions.c.id == reviews.c.decision_id
    )
    impartial = select(tables.moderators.c.id).where(
        tables.moderators.c.disabled_at.is_(None),
        tables.moderators.c.role != "viewer",
        ~had_a_part(tables.moderators.c.id),
    )
    somebody_else_can = or_(reviews.c.kind != "appeal", impartial.exists(), me.in_(made))
    return and_(had_a_part(me), somebody_else_can)


def deciding(connection: Connection, flag: Row[Any]) -> decisions.Decision:
    """Returns the decision that closed a locked flag; FlagConflict if nobody decided it."""
    said = decisions.of_flags(connection, [flag.id])[flag.id]
    closing = [d for d in said if d.action in ("approve", "remove") and not d.undone]
    if flag.state != "decided" or not closing:
        raise FlagConflict(f"nobody has decided flag {flag.id} yet; decide it instead")
    return closing[-1]


def open_look(
    connection: Connection, flag: Row[Any], kind: str, *, opened_at: datetime, **more: Any
) -> int:
    """Opens a look at the decision that closed a locked flag; FlagConflict if nobody decided it."""
    decision = deciding(connection, flag)
    values = {"expected": decision.action, **more}
    if values.get("why"):
        values["why"] = clean_text(values["why"].strip(), MAX_NOTE_CHARACTERS)
    statement = reviews.insert().values(
        flag_id=flag.id,
        verdict_id=decision.verdict_id,
        decision_id=decision.id,
        kind=kind,
        state="open",
        row_version=1,
        opened_at=opened_at,
        **values,
    )
    return int(connection.execute(statement.returning(reviews.c.id)).scalar_one())


def lock(connection: Connection, review_id: int) -> Row[Any]:
    """Returns a look's row, locked until the transaction ends; NotFound if there is none."""
    row = connection.execute(
        select(reviews).where(reviews.c.id == review_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no second look {review_id}")
    return row


def change(connection: Connection, row: Row[Any], event: Event, now: datetime) -> None:
    """Stores where a locked look stands after an event; FlagConflict if that cannot happen."""
    claims.change(connection, row, event, now=now, table=reviews)


def note(
    connection: Connection,
    moderator: Moderator,
    action: str,
    review_id: int,
    *,
    now: datetime,
    after: dict[str, Any] | None = None,
) -> None:
    """Adds what was done with a look, such as "review.claim", to the audit log."""
    audit.write(connection, moderator.name, action, f"review {review_id}", after=after, now=now)


@dataclass(frozen=True, slots=True)
class Look:
    """A second look without anything that would tell what was said before.

    Attributes:
        is_appeal: whether somebody appealed; the other kinds are not told apart.
        why: the reason for an appeal.
        held_by: who has claimed it now.
        is_for_others: whether the person asking had a part in its flag, so somebody else looks.
    """

    id: int
    flag_id: int
    post_id: str
    queue: str
    is_appeal: bool
    why: str | None
    opened_at: datetime
    escalated_at: datetime | None
    held_by: str | None
    claim_expires_at: datetime | None
    is_for_others: bool


@dataclass(frozen=True, slots=True)
class Others:
    """How many looks wait that a lead need not settle, and since when the oldest."""

    count: int
    oldest: datetime | None


def to_settle(
    connection: Connection,
    moderator: Moderator,
    *,
    limit: int,
    after_id: int = 0,
    now: datetime | None = None,
) -> list[Look]:
    """Returns disagreements and appeals, which wait for a lead, the oldest first."""
    moment = now if now is not None else datetime.now(UTC)
    statement = (
        _looks(moderator, moment)
        .where(_to_settle(moment), reviews.c.id > after_id)
        .order_by(reviews.c.id)
        .limit(limit)
    )
    return [Look(**row._mapping) for row in connection.execute(statement)]


def others(connection: Connection, *, now: datetime | None = None) -> Others:
    """Counts the looks that wait for anybody; known answers do not count."""
    moment = now if now is not None else datetime.now(UTC)
    columns = reviews.c
    row = connection.execute(
        select(func.count(), func.min(columns.opened_at)).where(
            columns.state.in_(UNCLOSED_STATES),
            columns.kind.in_(("sample", "disagreement")),
            columns.escalated_at.is_(None),
            columns.opened_at <= moment,
            has_not_lapsed(moment),
        )
    ).one()
    return Others(*row)


def own(
    connection: Connection,
    moderator: Moderator,
    *,
    limit: int,
    before_id: int | None = None,
    now: datetime | None = None,
) -> list[Look]:
    """Returns the looks that somebody holds or has voted in, newest first."""
    moment = now if now is not None else datetime.now(UTC)
    columns = reviews.c
    voted = exists().where(
        review_votes.c.review_id == columns.id, review_votes.c.moderator_id == moderator.id
    )
    holds = and_(columns.state == "claimed", columns.claimed_by == moderator.name)
    statement = _looks(moderator, moment).where(or_(holds, voted))
    if before_id is not None:
        statement = statement.where(columns.id < before_id)
    rows = connection.execute(statement.order_by(columns.id.desc()).limit(limit))
    return [Look(**row._mapping) for row in rows]


def _looks(moderator: Moderator, now: datetime) -> Select[Any]:
    columns, flags = reviews.c, tables.flags.c
    held = and_(columns.state == "claimed", columns.claim_expires_at > now)
    return select(
        columns.id,
        columns.flag_id,
        flags.post_id,
        flags.queue,
        (columns.kind == "appeal").label("is_appeal"),
        columns.why,
        columns.opened_at,
        columns.escalated_at,
        case((held, columns.claimed_by)).label("held_by"),
        case((held, columns.claim_expires_at)).label("claim_expires_at"),
        is_for_others(moderator).label("is_for_others"),
    ).join(tables.flags, flags.id == columns.flag_id)


def _to_settle(now: datetime) -> Any:
    columns = reviews.c
    return and_(
        columns.state.in_(UNCLOSED_STATES),
        or_(columns.escalated_at.is_not(None), columns.kind == "appeal"),
        columns.kind != "known",
        columns.opened_at <= now,
    )
