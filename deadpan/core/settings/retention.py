"""How long housekeeping keeps what is done with."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from deadpan.core.settings.kinds import MAX_DAYS, Days, Group, pairs

_DaysOfQueues = Annotated[
    dict[str, Days],
    BeforeValidator(pairs(f"queue:days, such as degraded:7, at most {MAX_DAYS} days")),
]


class Retention(Group):
    """Days until something is deleted; 0 keeps it."""

    retention_callbacks_days: int = Field(7, ge=0, le=3650)
    """Days that delivered callbacks stay in the outbox; 0 keeps them forever."""
    retention_verdicts_days: Days = 0
    """Days that verdicts without a flag are kept; a post pushed again later is judged again. 0
    keeps them forever."""
    retention_evidence_days: Days = 0
    """Days that text, pictures and explanations of a post are kept after its last flag was closed;
    0 keeps them forever."""
    retention_evidence_queues: _DaysOfQueues = Field({})
    """Exceptions to DEADPAN_RETENTION_EVIDENCE_DAYS for flags of some queues, each as queue:days,
    e.g. degraded:7,sarcasm:365; 0 keeps them forever."""
    retention_decisions_days: Days = 0
    """Days that decisions on closed flags, with their notes, are kept after the last one on a flag;
    0 keeps them forever."""
    retention_decisions_queues: _DaysOfQueues = Field({})
    """Exceptions to DEADPAN_RETENTION_DECISIONS_DAYS for flags of some queues, each as queue:days,
    e.g. degraded:7,sarcasm:365; 0 keeps them forever."""
    retention_audit_days: Days = 0
    """Days that entries of the audit log are kept; 0 keeps them forever."""
    retention_challenger_days: int = Field(30, ge=0, le=3650)
    """Days that a challenger's predictions are kept; 0 keeps them forever."""
