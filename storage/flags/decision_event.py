"""What others learn of a decision: the platform by the outbox, leads by the audit log."""

from __future__ import annotations

from sqlalchemy import Connection, select

from storage import tables
from storage.flags.decided import Decision
from storage.judging.outbox import NewEvent, add_events, event_key
from storage.people import audit
from storage.people.moderators import Moderator


def write_events(
    connection: Connection, decision: Decision, moderator: Moderator, *, before: str, report: bool
) -> None:
    """Writes down for others that a decision was made or taken back, in its transaction.

    Args:
        decision: that was made, or the event that takes one back.
        moderator: who did it.
        before: the state that the flag was in.
        report: whether the platform is told.
    """
    if report:
        found = connection.execute(
            select(tables.verdicts.c.traceparent).where(tables.verdicts.c.id == decision.verdict_id)
        )
        add_events(connection, [_created(decision, found.scalar())])
    audit.write(
        connection,
        moderator.name,
        f"flag.{decision.action}",
        f"flag {decision.flag_id}",
        before={"state": before},
        after={
            "decision": decision.id,
            "reason_code": decision.reason_code,
            "undoes": decision.undoes,
            "batch": decision.batch,
        },
        now=decision.created_at,
    )


def _created(decision: Decision, traceparent: str | None) -> NewEvent:
    """The event `decision.created`; `docs/callbacks.md` says what is in it.

    Neither the note, which may quote the post, nor who decided, which is nobody's business there.
    """
    return NewEvent(
        "decision.created",
        decision.post_id,
        event_key("decision", decision.id, decision.created_at),
        {
            "post_id": decision.post_id,
            "decision_id": decision.id,
            "flag_id": decision.flag_id,
            "verdict_id": decision.verdict_id,
            "action": decision.action,
            "reason_code": decision.reason_code,
            "sentiment": decision.sentiment,
            "sarcastic": decision.sarcastic,
            "undoes": decision.undoes,
            "created_at": decision.created_at.isoformat(),
        },
        traceparent=traceparent,
    )
