"""One decision for many flags, and taking them back together."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from deadpan.core.errors import FlagConflict, NotFound
from storage.flags.decided import Decision, of_batch
from storage.flags.decisions import Said, decide, undo
from storage.flags.sampling import Sampling
from storage.people.moderators import Moderator

_NONE: Final = Sampling()


def decide_many(
    connection: Connection,
    seen: Mapping[int, int],
    moderator: Moderator,
    said: Said,
    *,
    report: bool = False,
    now: datetime | None = None,
    second_looks: Sampling = _NONE,
) -> tuple[str, list[Decision], dict[int, str]]:
    """Writes the same decision for many flags; those that cannot be decided are left as they are.

    Args:
        seen: verdict ids by flag id, as they were shown.
        said: of each of them; which verdict was seen is taken from `seen`.
        report: whether the platform is told, through the outbox.
        second_looks: which decisions somebody else looks at too.

    Returns:
        the batch's name, the decisions, and why others were not made, by flag id.
    """
    batch = secrets.token_hex(8)
    made: list[Decision] = []
    refused: dict[int, str] = {}
    # In order, so that two who decide the same flags never wait for one another in a circle.
    for flag_id in sorted(seen):
        one = replace(said, seen_verdict_id=seen[flag_id])
        try:
            made.append(
                decide(
                    connection,
                    flag_id,
                    moderator,
                    one,
                    report=report,
                    now=now,
                    batch=batch,
                    second_looks=second_looks,
                )
            )
        except (FlagConflict, NotFound) as error:
            refused[flag_id] = str(error)
    return batch, made, refused


def undo_batch(
    connection: Connection,
    batch: str,
    moderator: Moderator,
    *,
    report: bool = False,
    now: datetime | None = None,
) -> tuple[list[Decision], dict[int, str]]:
    """Takes back a batch; flags go back to where they waited.

    Args:
        batch: its name; one that is unknown has nothing to take back.
        report: whether the platform is told, through the outbox.

    Returns:
        the undoing events, and why others were not undone, by flag id.
    """
    undone: list[Decision] = []
    refused: dict[int, str] = {}
    for decision in sorted(of_batch(connection, batch), key=lambda each: each.flag_id):
        if decision.action == "undo":
            continue
        try:
            undone.append(
                undo(
                    connection,
                    decision.id,
                    moderator,
                    claim_seconds=None,
                    report=report,
                    now=now,
                    batch=batch,
                )
            )
        except FlagConflict as error:
            refused[decision.flag_id] = str(error)
    return undone, refused
