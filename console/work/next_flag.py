"""From flag to flag: the list that somebody works through, what comes next, what just happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Form, Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from console.web.fields import JustDone, Short, clean
from console.web.filters import Asked, asked_of
from console.web.render import see_other
from console.web.state import console_of, visitor_of
from console.web.words import brief
from deadpan.core.errors import NotFound
from storage.base.database import transaction
from storage.flags import claims, decisions, views, worklist
from storage.flags.states import is_held
from storage.people.moderators import Moderator
from storage.reviews import reviews, second_looks

#: Five fields of 256 characters, each written as up to twelve.
_MAX_FILTERS_CHARACTERS: Final = 16_000


@dataclass(frozen=True, slots=True)
class Within:
    """The list that somebody works through, as forms and addresses carry it.

    Attributes:
        filters: as `Asked.filters` gives them.
    """

    queue: Short = ""
    filters: Annotated[str, Form(max_length=_MAX_FILTERS_CHARACTERS)] = ""

    def asked(self) -> Asked:
        """The same as filters.

        Raises:
            ConfigurationError: they are invalid.
        """
        return asked_of(self.queue, self.filters)

    def address(self, path: str, **more: Any) -> str:
        """A path that carries the list on."""
        fields = {"queue": self.queue, "filters": self.filters, **more}
        query = urlencode({k: v for k, v in fields.items() if v})
        return f"{path}?{query}" if query else path


SentWithin = Annotated[Within, Depends()]
"""As a form carries it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How somebody comes to a page: from which list, and from what.

    Attributes:
        pictures: "shown" shows them, whatever the reader's own setting is.
        after: the decision that was just made.
        missed: the flag that somebody else was faster with.
        thread: "now" waits for what the platform says; without it, a script asks.
    """

    queue: Annotated[str, Query(max_length=64)] = ""
    filters: Annotated[str, Query(max_length=_MAX_FILTERS_CHARACTERS)] = ""
    pictures: str = ""
    after: JustDone = None
    missed: JustDone = None
    thread: str = ""


def take_next(
    request: Request, within: Within, *, from_all: bool = False, **shown: Any
) -> Response:
    """Takes the best flag for whoever is signed in, and sends them to it. Who has views that are
    their work gets, from a list without queue and filters, what is in those and nothing else.

    Args:
        from_all: from all queues, whatever their work is.

    Second looks are chosen by queue and language alone: by scores or words, a filter would reveal
    what is hidden.

    Raises:
        ConfigurationError: the filters of the list are invalid.
    """
    console, me = console_of(request), visitor_of(request).moderator
    asked, seconds = within.asked(), console.claim_seconds
    lists = [asked]
    look = flag_id = None
    with transaction(console.database) as connection:
        if not (from_all or asked.queue or asked.is_filtered):
            lists = own_work(connection, me) or lists
        # Second looks are few, so they come first; what is held comes before all.
        if not claims.held_by(connection, me, now=datetime.now(UTC)):
            for each in lists:
                look = look or second_looks.take_next(
                    connection,
                    me,
                    claim_seconds=seconds,
                    queue=each.queue or None,
                    language=each.filter(blind=me.is_lead).language,
                    known_share=console.known_answer_share,
                )
        if look is None:
            flag_id = take_first(connection, me, lists, claim_seconds=seconds)
    if look is not None:
        return see_other(within.address(f"/reviews/{look}", **shown))
    if flag_id is not None:
        return see_other(within.address(f"/flags/{flag_id}", **shown))
    return see_other(f"/?{asked.query(**{k: str(v) for k, v in shown.items()}, empty='1')}")


def own_work(connection: Connection, me: Moderator) -> list[Asked]:
    """The lists that are somebody's work, by the names of their views; none for whom all is."""
    return [asked_of(each.queue, each.filters) for each in views.assigned_to(connection, me)]


def take_first(
    connection: Connection,
    me: Moderator,
    lists: Iterable[Asked],
    *,
    claim_seconds: float,
    looks: bool = True,
) -> int | None:
    """Takes the best flag of the first list that has one, as `claims.claim_next` does.

    Raises:
        ConfigurationError: the filters of a list are invalid.
    """
    for each in lists:
        flag_id = claims.claim_next(
            connection,
            me,
            claim_seconds=claim_seconds,
            queue=each.queue or None,
            like=each.filter(blind=me.is_lead) if each.is_filtered else None,
            looks=looks,
        )
        if flag_id is not None:
            return flag_id
    return None


def done_banner(
    connection: Connection, me: Moderator, after: int | None, batch: str, now: datetime
) -> dict[str, Any] | None:
    """What was just done, with a way to undo it while there is time; None where it was not theirs.

    Args:
        after: a decision.
        batch: many of them; comes before `after`.
    """
    try:
        if batch:
            made = [d for d in decisions.of_batch(connection, clean(batch)) if d.action != "undo"]
            what, undo = f"{len(made)} flags", f"/bulk/{batch}/undo"
        else:
            made = [decisions.by_id(connection, after)] if after else []
            what, undo = f"Post {made[0].post_id}" if made else "", f"/decisions/{after}/undo"
    except NotFound:
        return None
    if not made or made[0].moderator_id != me.id:
        return None
    left = decisions.UNDO_SECONDS - (now - made[0].created_at).total_seconds()
    return {
        "what": what,
        "flags": [each.flag_id for each in made],
        "action": made[0].action,
        "undone": made[0].undone,
        "undo": undo if any(each.may_be_undone(me, now) for each in made) else "",
        "seconds": max(0, int(left)),
    }


def lost_words(connection: Connection, flag_id: int | None, me: Moderator, now: datetime) -> str:
    """What became of a flag that somebody wanted and did not get, for they have the next one now;
    empty where there is nothing to say."""
    if flag_id is None:
        return ""
    try:
        flag = worklist.one(connection, flag_id)
    except NotFound:
        return ""
    post = f"ost {brief(flag.post_id)}"
    # Of a flag that may come for a second look, not even that it is decided.
    if reviews.hidden_from(connection, me, [flag_id]):
        return f"P{post} is no longer available."
    if flag.state == "decided":
        return f"P{post} was decided a moment ago."
    if is_held(claims.standing_of(flag), now):
        return "" if flag.claimed_by == me.name else f"{flag.claimed_by} claimed p{post} first."
    return f"P{post} {'has been escalated' if flag.escalated_at else 'is no longer available'}."
