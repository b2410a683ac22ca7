"""What is hidden from whoever is to look at a decision a second time."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request

from console.state import console_of, visitor_of
from deadpan.errors import FlagConflict
from storage import reviews
from storage.database import transaction

HIDDEN = (
    "this flag is decided and has a second look before it, which may be yours: what was decided, "
    "and why it was flagged, is hidden until then"
)


def hidden(request: Request, flag_ids: Collection[int]) -> dict[int, int | None]:
    """Flags that are hidden from whoever asks now, with the look at it that they hold.

    From a program only what its moderator holds: programs of the platform are given no looks, and
    have to read what became of their posts.
    """
    visitor = visitor_of(request)
    with transaction(console_of(request).database, read_only=True) as connection:
        found = reviews.hidden_from(connection, visitor.moderator, flag_ids)
    return found if visitor.token is None else {flag: look for flag, look in found.items() if look}


def refuse_hidden(request: Request, flag_id: int) -> None:
    """Keeps a hidden flag hidden, in messages too.

    Raises:
        FlagConflict: it is.
    """
    if flag_id in hidden(request, [flag_id]):
        raise FlagConflict(HIDDEN)
