"""The states of a flag, and the one function that says how they change. It knows no database.

open ──claim──> claimed ──decide──> decided
 ^  <──release, skip, expiry──┘ │
 │                              escalate
 │                              v
 └─────(undo)──────────── escalated ──claim, by a lead──> claimed
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from deadpan.core.errors import FlagConflict

Outcome = Literal["approve", "remove"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a flag stands.

    Attributes:
        escalated_at: since when it needs a lead; a claim that ends leads back to `escalated`.
        outcome: of a decided flag.
    """

    state: str
    claimed_by: str | None = None
    claim_expires_at: datetime | None = None
    escalated_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """`by` takes the flag until `until`; only a lead takes one that was escalated."""

    by: str
    until: datetime
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Renew:
    """`by` goes on holding the flag until `until`."""

    by: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """`by` gives the flag back; a lead gives back anybody's."""

    by: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """`by` gives the flag to `to`, until `until`; a lead gives away anybody's."""

    by: str
    to: str
    until: datetime
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """The time of a claim is up."""


@dataclass(frozen=True, slots=True)
class Decide:
    """`by` closes the flag."""

    by: str
    outcome: Outcome
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Escalate:
    """`by` asks a lead."""

    by: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """`by` leaves the flag to others."""

    by: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Undo:
    """`by` takes back what they decided (`action`); with `until`, they hold the flag again."""

    by: str
    action: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DecideAgain:
    """An appeal against what was decided ends with this outcome."""

    outcome: Outcome


Event = Claim | Renew | Release | HandOver | Expire | Decide | Escalate | Skip | Undo | DecideAgain


def transition(standing: Standing, event: Event, *, now: datetime) -> Standing:
    """Returns where the flag stands after the event, or raises FlagConflict for the moderator.

    A claim that has run out still counts while nobody else has taken the flag: somebody who thinks
    a minute too long loses nothing by it.
    """
    match event:
        case Claim():
            _free_for(standing, event.by, event.lead, now)
            return _held(standing, event.by, event.until)
        case Renew():
            if standing.state != "claimed" or standing.claimed_by != event.by:
                raise FlagConflict(f"your claim has expired; {_who(standing, now)}")
            return replace(standing, claim_expires_at=event.until)
        case Release():
            _holder(standing, event.by, event.lead, now)
            return _waiting(standing)
        case HandOver():
            _holder(standing, event.by, event.lead, now)
            return _held(standing, event.to, event.until)
        case Expire():
            over = standing.state == "claimed" and not is_held(standing, now)
            return _waiting(standing) if over else standing
        case Decide():
            _free_for(standing, event.by, event.lead, now)
            return replace(
                _waiting(standing), state="decided", closed_at=now, outcome=event.outcome
            )
        case Escalate():
            _free_for(standing, event.by, event.lead, now)
            if standing.escalated_at is not None:
                raise FlagConflict("this flag was escalated already; decide it or release it")
            return replace(_waiting(standing), state="escalated", escalated_at=now)
        case Skip():
            _free_for(standing, event.by, event.lead, now)
            return _waiting(standing)
        case DecideAgain():
            if standing.state != "decided":
                raise FlagConflict(f"this flag is not decided; {_who(standing, now)}")
            return replace(standing, outcome=event.outcome)
        case Undo():
            return _undone(standing, event, now)


def is_held(standing: Standing, now: datetime) -> bool:
    """Whether somebody holds the flag and their time is not up."""
    return (
        standing.state == "claimed"
        and standing.claim_expires_at is not None
        and standing.claim_expires_at > now
    )


def _undone(standing: Standing, event: Undo, now: datetime) -> Standing:
    wanted = {"approve": "decided", "remove": "decided", "escalate": "escalated"}
    expected = wanted.get(event.action)
    if expected is not None and standing.state != expected:
        raise FlagConflict(f"too late to undo: {_who(standing, now)}")
    if expected is None:
        _free_for(standing, event.by, True, now)
    back = replace(standing, closed_at=None, outcome=None)
    if event.action == "escalate":
        back = replace(back, escalated_at=None)
    return _waiting(back) if event.until is None else _held(back, event.by, event.until)


def _free_for(standing: Standing, by: str, lead: bool, now: datetime) -> None:
    if standing.state == "decided":
        raise FlagConflict(_who(standing, now))
    if is_held(standing, now) and standing.claimed_by != by:
        raise FlagConflict(_who(standing, now))
    mine = standing.state == "claimed" and standing.claimed_by == by
    if standing.escalated_at is not None and not lead and not mine:
        raise FlagConflict("this flag was escalated and waits for a lead")


def _holder(standing: Standing, by: str, lead: bool, now: datetime) -> None:
    if standing.state != "claimed":
        raise FlagConflict(f"nobody holds this flag; {_who(standing, now)}")
    if standing.claimed_by != by and not lead:
        raise FlagConflict(_who(standing, now))


def _held(standing: Standing, by: str, until: datetime) -> Standing:
    return replace(standing, state="claimed", claimed_by=by, claim_expires_at=until)


def _waiting(standing: Standing) -> Standing:
    state = "open" if standing.escalated_at is None else "escalated"
    return replace(standing, state=state, claimed_by=None, claim_expires_at=None)


def _who(standing: Standing, now: datetime) -> str:
    """What became of the flag, for the moderator who was not the one."""
    if standing.state == "decided":
        done = {"approve": "approved", "remove": "removed"}.get(standing.outcome or "", "decided")
        return f"somebody was faster: this flag was {done}"
    if is_held(standing, now):
        return f"{standing.claimed_by} has claimed this flag"
    return "it waits for a lead" if standing.escalated_at else "it is open"
