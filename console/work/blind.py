"""What is hidden from whoever is to look at a decision a second time."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request
from sqlalchemy import Connection

from console.web.state import Visitor, console_of, visitor_of
from deadpan.core.errors import FlagConflict
from storage.base.database import transaction
from storage.flags.worklist import Flag
from storage.people.moderators import Moderator
from storage.reviews import reviews

HIDDEN = (
    "this flag has been decided and may come to you for a second look: the decision, and why it "
    "was flagged, are hidden until then"
)


def hidden(request: Request, flag_ids: Collection[int]) -> dict[int, int | None]:
    """Flags that are hidden from whoever asks now, with the look at it that they hold."""
    with transaction(console_of(request).database, read_only=True) as connection:
        return of(connection, visitor_of(request), flag_ids)


def of(
    connection: Connection, visitor: Visitor, flag_ids: Collection[int]
) -> dict[int, int | None]:
    """Flags that are hidden from somebody now, with the look at it that they hold.

    From a program that may not vote only what its moderator holds: it is given no looks, and has to
    read what became of the platform's posts.
    """
    found = reviews.hidden_from(connection, visitor.moderator, flag_ids)
    if visitor.token is None or "reviews:vote" in visitor.token.scopes:
        return found
    return {flag: look for flag, look in found.items() if look}


def hides_why(moderator: Moderator, flag: Flag) -> bool:
    """Whether a flag is shown to somebody without why it is there: what the model said, and whether
    a rule fired at all. A look at an unflagged post is so for all but leads, and so are some flags,
    so that nobody can tell them apart, until they are decided.
    """
    return flag.blind and flag.state != "decided" and not moderator.is_lead


def refuse_look(request: Request, flag: Flag) -> None:
    """Keeps looks at unflagged posts out of the API, which tells all of a flag.

    Raises:
        FlagConflict: it is one that waits, and whoever asks is no lead.
    """
    if flag.inclusion is not None and hides_why(visitor_of(request).moderator, flag):
        raise FlagConflict("this post is decided in the console, where it is shown without scores")


def refuse_hidden(request: Request, flag_id: int) -> None:
    """Keeps a hidden flag hidden, in messages too.

    Raises:
        FlagConflict: it is.
    """
    if flag_id in hidden(request, [flag_id]):
        raise FlagConflict(HIDDEN)
