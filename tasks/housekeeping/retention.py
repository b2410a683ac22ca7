"""How long what is kept: each kind for its own number of days, and for good where none is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
_Forget = Callable[..., retention.Step]


@dataclass(frozen=True, slots=True)
class Periods:
    """How many days what is kept; 0 keeps it for good."""

    verdicts: float = 0  # without a flag, from when they were judged
    evidence: float = 0  # of posts whose flags are all closed, from the last closing
    decisions: float = 0  # of closed flags, from the last of them
    audit: float = 0
    evidence_queues: Mapping[str, float] = field(default_factory=dict)  # other days, by queue
    decisions_queues: Mapping[str, float] = field(default_factory=dict)


class Retention:
    """Forgets a batch of each kind a turn. Used by one thread.

    Args:
        evidence: where text and pictures are.
    """

    def __init__(self, periods: Periods, evidence: EvidenceStore) -> None:
        self._evidence = evidence
        kinds: Sequence[tuple[str, _Forget, float, Mapping[str, float]]] = (
            ("verdicts", retention.forget_verdicts, periods.verdicts, {}),
            ("evidence", retention.forget_evidence, periods.evidence, periods.evidence_queues),
            ("decisions", retention.forget_decisions, periods.decisions, periods.decisions_queues),
            ("audit log", retention.forget_audit, periods.audit, {}),
        )
        self._chores = [kind for kind in kinds if kind[2] or any(kind[3].values())]
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
                log.info("old rows deleted", kind=name, rows=done.removed)
        return more


def _ago(now: datetime, days: float) -> datetime | None:
    return now - timedelta(days=days) if days else None
