"""The one function that owns the states of a flag, tried with every event in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deadpan.core.errors import FlagConflict
from storage.flags.states import (
    Claim,
    Decide,
    Escalate,
    Event,
    Expire,
    HandOver,
    Release,
    Renew,
    Skip,
    Standing,
    Undo,
    is_held,
    transition,
)
from storage.tables import FLAG_STATES

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOON, PAST = NOW + timedelta(minutes=5), NOW - timedelta(minutes=5)
OPEN = Standing("open")
MINE = Standing("claimed", "ann", SOON)
OVER = Standing("claimed", "ann", PAST)
ESCALATED = Standing("escalated", escalated_at=PAST)
DECIDED = Standing("decided", closed_at=PAST, outcome="remove")


def after(standing: Standing, event: Event) -> Standing:
    return transition(standing, event, now=NOW)


def test_a_flag_is_taken_by_one_and_by_nobody_else() -> None:
    taken = after(OPEN, Claim("ann", SOON))
    assert (taken.state, taken.claimed_by, taken.claim_expires_at) == ("claimed", "ann", SOON)
    assert after(taken, Claim("ann", SOON)).claimed_by == "ann"
    for event in (Claim("bob", SOON), Decide("bob", "remove"), Escalate("bob"), Skip("bob")):
        with pytest.raises(FlagConflict, match="ann has claimed this flag"):
            after(taken, event)


def test_a_claim_that_is_over_goes_to_whoever_comes_first() -> None:
    assert after(OVER, Claim("bob", SOON)).claimed_by == "bob"
    assert after(OVER, Decide("ann", "approve")).outcome == "approve"
    assert after(OVER, Renew("ann", SOON)).claim_expires_at == SOON
    with pytest.raises(FlagConflict, match="your claim has expired; bob has claimed this flag"):
        after(after(OVER, Claim("bob", SOON)), Renew("ann", SOON))


def test_expiry_ends_what_is_over_and_nothing_else() -> None:
    assert after(OVER, Expire()) == OPEN
    for standing in (OPEN, MINE, ESCALATED, DECIDED):
        assert after(standing, Expire()) == standing


def test_a_flag_that_was_escalated_waits_for_a_lead_and_stays_so_when_given_back() -> None:
    with pytest.raises(FlagConflict, match="waits for a lead"):
        after(ESCALATED, Claim("ann", SOON))
    held = after(ESCALATED, Claim("eve", SOON, lead=True))
    assert after(held, Release("eve", lead=True)) == ESCALATED
    assert after(held, Decide("eve", "approve", lead=True)).state == "decided"
    with pytest.raises(FlagConflict, match="escalated already"):
        after(held, Escalate("eve", lead=True))


def test_a_decided_flag_moves_no_more() -> None:
    events: list[Event] = [
        Claim("ann", SOON),
        Decide("ann", "approve"),
        Escalate("ann"),
        Skip("ann"),
    ]
    for event in events:
        with pytest.raises(FlagConflict, match="somebody was faster: this flag was removed"):
            after(DECIDED, event)


def test_a_flag_is_handed_over_by_its_holder_or_a_lead() -> None:
    assert after(MINE, HandOver("ann", "bob", SOON)).claimed_by == "bob"
    assert after(MINE, HandOver("eve", "bob", SOON, lead=True)).claimed_by == "bob"
    with pytest.raises(FlagConflict, match="ann has claimed this flag"):
        after(MINE, HandOver("bob", "bob", SOON))
    with pytest.raises(FlagConflict, match="nobody holds"):
        after(OPEN, Release("ann"))


def test_undo_leads_back_to_where_the_flag_was() -> None:
    assert after(DECIDED, Undo("ann", "remove", SOON)) == MINE
    assert after(DECIDED, Undo("ann", "remove")) == OPEN
    assert after(after(MINE, Escalate("ann")), Undo("ann", "escalate", SOON)) == MINE
    assert after(OPEN, Undo("ann", "skip", SOON)) == MINE
    for standing in (OPEN, Standing("claimed", "bob", SOON)):
        with pytest.raises(FlagConflict, match="too late to undo"):
            after(standing, Undo("ann", "escalate"))


names = st.sampled_from(["ann", "bob"])
events = st.one_of(
    st.builds(Claim, names, st.just(SOON), st.booleans()),
    st.builds(Renew, names, st.just(SOON)),
    st.builds(Release, names, st.booleans()),
    st.builds(HandOver, names, names, st.just(SOON), st.booleans()),
    st.builds(Expire),
    st.builds(Decide, names, st.sampled_from(["approve", "remove"]), st.booleans()),
    st.builds(Escalate, names, st.booleans()),
    st.builds(Skip, names, st.booleans()),
    st.builds(Undo, names, st.sampled_from(["approve", "remove", "escalate", "skip"])),
)


@given(st.lists(events, max_size=12))
def test_whatever_happens_a_flag_is_in_a_state_that_makes_sense(happened: list[Event]) -> None:
    standing, now = OPEN, NOW
    for event in happened:
        now += timedelta(minutes=2)
        holder = standing.claimed_by if is_held(standing, now) else None
        try:
            standing = transition(standing, event, now=now)
        except FlagConflict:
            continue
        assert standing.state in FLAG_STATES
        assert (standing.state == "claimed") == (standing.claimed_by is not None)
        assert (standing.claimed_by is None) == (standing.claim_expires_at is None)
        assert (standing.state == "decided") == (standing.closed_at is not None)
        assert (standing.state == "decided") == (standing.outcome is not None)
        assert standing.state != "escalated" or standing.escalated_at is not None
        assert standing.state != "open" or standing.escalated_at is None
        if holder and isinstance(event, Decide | Escalate | Skip | Claim):
            assert event.by == holder, "nobody decides what another holds"
