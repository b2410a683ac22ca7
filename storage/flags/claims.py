"""Who holds which flag: taken, renewed, given back, handed over. Of two, one gets it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, and_, exists, select, true, update

from deadpan.core.errors import FlagConflict, NotFound
from storage import tables
from storage.flags import summons, worklist
from storage.flags.states import (
    Claim,
    Event,
    Expire,
    HandOver,
    Release,
    Renew,
    Standing,
    is_held,
    transition,
)
from storage.flags.worklist import Filter
from storage.people import audit
from storage.people.moderators import Moderator
from storage.tables import decisions

#: A flag that was skipped is not offered to the same moderator again for a shift.
SKIPPED_FOR: Final = timedelta(hours=12)
_EXPIRED_AT_ONCE: Final = 200
#: What waits longer says what posts were like then, and hides behind no flag for ever.
LOOKS_LAPSE_AFTER: Final = timedelta(days=7)
#: So many flags that are like what is asked for are tried at once, and so often.
_OFFERED: Final = 25
_SEARCHES: Final = 20
_NAMES: Final = tuple(field.name for field in fields(Standing))


def lock(connection: Connection, flag_id: int) -> Row[Any]:
    """Returns a flag's row, locked until the transaction ends; NotFound if there is none."""
    row = connection.execute(
        select(tables.flags).where(tables.flags.c.id == flag_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no flag {flag_id}")
    return row


def change(
    connection: Connection,
    row: Row[Any],
    event: Event,
    *,
    now: datetime,
    table: Table = tables.flags,
) -> Standing:
    """Stores where a locked flag (or a row of `table` that stands as flags do) stands after an
    event; FlagConflict if that cannot happen.
    """
    before = standing_of(row)
    after = transition(before, event, now=now)
    if after != before:
        connection.execute(
            update(table)
            .where(table.c.id == row.id, table.c.row_version == row.row_version)
            .values(
                {name: getattr(after, name) for name in _NAMES}
                | {"row_version": table.c.row_version + 1}
            )
        )
    return after


def close_waiting(connection: Connection, table: Table, *which: Any, now: datetime) -> int:
    """Closes flags or second looks that wait, without an outcome, and returns how many."""
    columns = table.c
    statement = update(table).where(columns.state.in_(tables.UNCLOSED_STATES), *which)
    return connection.execute(
        statement.values(
            state="decided",
            closed_at=now,
            claimed_by=None,
            claim_expires_at=None,
            row_version=columns.row_version + 1,
        )
    ).rowcount


def let_looks_lapse(connection: Connection, *, now: datetime | None = None) -> int:
    """Closes looks at unflagged posts that nobody took within a week, and returns how many. They
    count as unanswered; who skips them for flags changes no estimate.
    """
    moment = now if now is not None else datetime.now(UTC)
    columns = tables.flags.c
    return close_waiting(
        connection,
        tables.flags,
        columns.inclusion.is_not(None),
        columns.state == "open",
        columns.opened_at <= moment - LOOKS_LAPSE_AFTER,
        now=moment,
    )


def standing_of(row: Any) -> Standing:
    """Where a flag stands."""
    return Standing(**{name: getattr(row, name) for name in _NAMES})


def claim_next(
    connection: Connection,
    moderator: Moderator,
    *,
    claim_seconds: float,
    queue: str | None = None,
    like: Filter | None = None,
    looks: bool = True,
    now: datetime | None = None,
) -> int | None:
    """Takes the best flag for a moderator, and returns its id, or None when nothing waits: what
    they hold already, what was handed to them and they have not seen, else the first of the list;
    leads get escalated flags first.

    Two who ask at once get two flags: PostgreSQL skips rows that another transaction has locked,
    and on SQLite one transaction writes at a time.

    Args:
        like: only such flags, whatever states and queue it names.
        looks: whether looks at unflagged posts are given out too.
    """
    moment = now if now is not None else datetime.now(UTC)
    held = held_by(connection, moderator, now=moment)
    if held:
        return held[0]
    expire(connection, now=moment)
    states = ("escalated", "open") if moderator.is_lead else ("open",)
    if (mine := _handed_over(connection, moderator, states)) is not None:
        _take(connection, mine, moderator, claim_seconds, moment)
        # Whoever skips it now is not given it again and again.
        summons.see(connection, moderator, mine.id, now=moment)
        return int(mine.id)
    for state in states:
        if like is None:
            row = connection.execute(
                _best(moderator, state, queue, moment, looks=looks)
            ).one_or_none()
        else:
            wanted = replace(like, states=(state,), queue=queue, looks=like.looks and looks)
            row = _best_like(connection, moderator, wanted, moment)
        if row is not None:
            _take(connection, row, moderator, claim_seconds, moment)
            return int(row.id)
    return None


def held_by(connection: Connection, moderator: Moderator, *, now: datetime) -> list[int]:
    """Returns the ids of flags that a moderator holds, by when their claims end."""
    columns = tables.flags.c
    statement = (
        select(columns.id)
        .where(
            columns.state == "claimed",
            columns.claimed_by == moderator.name,
            columns.claim_expires_at > now,
        )
        .order_by(columns.claim_expires_at, columns.id)
    )
    return list(connection.execute(statement).scalars())


def claim(
    connection: Connection,
    flag_id: int,
    moderator: Moderator,
    *,
    claim_seconds: float,
    now: datetime | None = None,
) -> datetime:
    """Takes a certain flag, and returns when the claim ends.

    Raises:
        FlagConflict: somebody else has it, or it is decided.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    return _take(connection, lock(connection, flag_id), moderator, claim_seconds, moment)


def renew(
    connection: Connection,
    flag_id: int,
    moderator: Moderator,
    *,
    claim_seconds: float,
    now: datetime | None = None,
) -> datetime:
    """Extends a claim, and returns when it ends; FlagConflict if it is no longer theirs."""
    moment = now if now is not None else datetime.now(UTC)
    until = moment + timedelta(seconds=claim_seconds)
    change(connection, lock(connection, flag_id), Renew(moderator.name, until), now=moment)
    return until


def release(
    connection: Connection, flag_id: int, moderator: Moderator, *, now: datetime | None = None
) -> None:
    """Gives a flag back; FlagConflict if they neither hold it nor are a lead."""
    moment = now if now is not None else datetime.now(UTC)
    row = lock(connection, flag_id)
    change(connection, row, Release(moderator.name, moderator.is_lead), now=moment)
    _note(connection, moderator.name, "flag.release", row, now=moment)


def hand_over(
    connection: Connection,
    flag_id: int,
    moderator: Moderator,
    to: Moderator,
    *,
    claim_seconds: float,
    now: datetime | None = None,
) -> None:
    """Gives a flag that somebody holds to another moderator.

    Raises:
        FlagConflict: they neither hold it nor are a lead, or the other one may not decide it.
        NotFound: there is no such flag.
    """
    moment = now if now is not None else datetime.now(UTC)
    if to.disabled_at is not None or not to.may("moderator"):
        raise FlagConflict(f"{to.name} cannot decide flags; hand it over to somebody else")
    row = lock(connection, flag_id)
    until = moment + timedelta(seconds=claim_seconds)
    event = HandOver(moderator.name, to.name, until, moderator.is_lead)
    change(connection, row, event, now=moment)
    after = {"claimed_by": to.name}
    _note(connection, moderator.name, "flag.hand-over", row, after=after, now=moment)
    summons.summon(connection, to, flag_id, "hand-over", by=moderator, now=moment)


def expire(connection: Connection, *, now: datetime | None = None) -> int:
    """Ends claims whose time is up, and returns how many there were."""
    moment = now if now is not None else datetime.now(UTC)
    rows = connection.execute(
        select(tables.flags)
        .where(_is_over(moment))
        .limit(_EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        change(connection, row, Expire(), now=moment)
        _note(connection, str(row.claimed_by), "flag.claim-expired", row, now=moment)
    return len(rows)


def any_expired(connection: Connection, *, now: datetime | None = None) -> bool:
    """Whether there is anything for `expire` to do; a read."""
    moment = now if now is not None else datetime.now(UTC)
    statement = select(tables.flags.c.id).where(_is_over(moment)).limit(1)
    return connection.execute(statement).one_or_none() is not None


def _is_over(now: datetime) -> Any:
    columns = tables.flags.c
    return and_(columns.state == "claimed", columns.claim_expires_at <= now)


def _take(
    connection: Connection,
    row: Row[Any],
    moderator: Moderator,
    claim_seconds: float,
    now: datetime,
) -> datetime:
    until = now + timedelta(seconds=claim_seconds)
    was_mine = row.claimed_by == moderator.name and is_held(standing_of(row), now)
    change(connection, row, Claim(moderator.name, until, moderator.is_lead), now=now)
    if not was_mine:
        before = {"state": row.state}
        audit.write(
            connection, moderator.name, "flag.claim", f"flag {row.id}", before=before, now=now
        )
    return until


def _note(
    connection: Connection,
    actor: str,
    action: str,
    row: Row[Any],
    *,
    now: datetime,
    after: dict[str, Any] | None = None,
) -> None:
    before = {"claimed_by": row.claimed_by}
    audit.write(connection, actor, action, f"flag {row.id}", before=before, after=after, now=now)


def _handed_over(
    connection: Connection, moderator: Moderator, states: tuple[str, ...]
) -> Row[Any] | None:
    for number in summons.handed_over(connection, moderator):
        columns = tables.flags.c
        row = connection.execute(
            select(tables.flags)
            .where(columns.id == number, columns.state.in_(states))
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is not None:
            return row
    return None


def _best_like(
    connection: Connection, moderator: Moderator, wanted: Filter, now: datetime
) -> Row[Any] | None:
    """The best of the flags that the list shows, found without a lock and taken with one. The
    search goes through at most `_SEARCHES` pages.
    """
    (state,) = wanted.states
    after = None
    for _ in range(_SEARCHES):
        found = worklist.search(connection, wanted, limit=_OFFERED, after=after)
        numbers = [each.id for each in found.flags]
        if numbers:
            best = _best(moderator, state, wanted.queue, now).where(tables.flags.c.id.in_(numbers))
            row = connection.execute(best).one_or_none()
            if row is not None:
                return row
        after = found.flags[-1].position if len(numbers) == _OFFERED else found.stopped_at
        if after is None:
            break
    return None


def _best(
    moderator: Moderator, state: str, queue: str | None, now: datetime, *, looks: bool = True
) -> Any:
    columns = tables.flags.c
    skipped = exists().where(
        decisions.c.flag_id == columns.id,
        decisions.c.moderator_id == moderator.id,
        decisions.c.action == "skip",
        decisions.c.created_at > now - SKIPPED_FOR,
    )
    statement = (
        select(tables.flags)
        .where(columns.state == state, ~skipped, true() if looks else columns.inclusion.is_(None))
        .order_by(*worklist.ORDER)
        .limit(1)
        .with_for_update(skip_locked=True, of=tables.flags)
    )
    return statement if queue is None else statement.where(columns.queue == queue)
