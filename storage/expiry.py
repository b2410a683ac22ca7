"""What comes to its end by itself: claims."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from storage import tables
from storage.clock import moment


def expire_claims(connection: Connection, *, limit: int = 500) -> int:
    """Puts flags whose claim has run out back to open.

    A flag that a moderator is deciding in this moment is locked, and left for the next time.

    Args:
        limit: at most so many, so that the transaction stays short.

    Returns:
        how many.
    """
    columns = tables.flags.c
    run_out = (
        select(columns.id)
        .where(columns.state == "claimed", columns.claim_expires_at < moment(connection))
        .order_by(columns.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(run_out).scalars())
    if ids:
        connection.execute(
            update(tables.flags)
            .where(columns.id.in_(ids))
            .values(
                state="open",
                claimed_by=None,
                claim_expires_at=None,
                row_version=columns.row_version + 1,
            )
        )
    return len(ids)
