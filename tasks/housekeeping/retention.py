"""How long what is kept: each kind for its own number of days, and for good where none is set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.keeping import retention
from storage.keeping.retention import Before, Place

log = structlog.get_logger(__name__)

_BEGIN_ANEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Periods:
    """Days; 0 keeps for good.

    Attributes:
        verdicts: without a flag, from when they were judged.
        evidence: of posts whose flags are all closed, from the last closing.
        decisions: of closed flags, from the last of them.
        audit: entries of the audit log.
        evidence_queues, decisions_queues: other days for flags of these queues.
    """

    verdicts: float = 0
    evidence: float = 0
    decisions: float = 0
    audit: float = 0
    evidence_queues: Mapping[str, float] = field(default_factory=dict)
    decisions_queues: Mapping[str, float] = field(default_factory=dict)


class Retention:
    """Forgets a batch of each kind a turn. Used by one thread.

    Args:
        evidence: where text and pictures are.
    """

    def __init__(self, periods: Periods, evidence: EvidenceStore) -> None:
        self._evidence = evidence
        by_queue = (periods.evidence_queues, periods.decisions_queues)
        self._chores = [
            (name, step, days, queues)
            for name, step, days, queues in (
                ("verdicts", retention.forget_verdicts, periods.verdicts, {}),
                ("evidence", retention.forget_evidence, periods.evidence, by_queue[0]),
                ("decisions", retention.forget_decisions, periods.decisions, by_queue[1]),
                ("audit log", retention.forget_audit, periods.audit, {}),
            )
            if days or any(queues.values())
        ]
        self._places: dict[str, Place] = {}
        self._began: dict[str, datetime] = {}

    def turn(self, database: Engine, *, now: datetime | None = None) -> bool:
        """Forget what is due, at most a batch of each; gives whether there may be more.

        Evidence is deleted before the transaction is committed: should anything fail in between, it
        is met and deleted again at the next start.

        Raises:
            DatabaseUnavailable, EvidenceUnavailable: what is left is tried again.
        """
        moment = now if now is not None else datetime.now(UTC)
        more = False
        for name, step, days, queues in self._chores:
            before = Before(
                _ago(moment, days), {queue: _ago(moment, own) for queue, own in queues.items()}
            )
            with transaction(database) as connection:
                done = step(connection, before, self._places.get(name), now=moment)
                for sha256 in done.evidence:
                    self._evidence.delete(sha256)
            if done.place is not None:
                self._places[name] = done.place
                more = True
            elif moment - self._began.get(name, moment) > _BEGIN_ANEW:
                # For what had to stay when it was passed, such as what belongs to an open flag.
                self._places.pop(name, None)
                self._began[name] = moment
            self._began.setdefault(name, moment)
            if done.removed:
                log.info("old rows forgotten", kind=name, rows=done.removed)
        return more


def _ago(now: datetime, days: float) -> datetime | None:
    return now - timedelta(days=days) if days else None
