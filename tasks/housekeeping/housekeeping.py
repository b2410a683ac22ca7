"""Housekeeping: what must happen once, whoever is there: callbacks, expired claims, retention.

Several processes may run. One leads, by a lease in the database, and does the work; the others
stand by and take over when its lease runs out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import StorageError
from storage.base.database import transaction
from storage.flags import claims, worklist
from storage.judging import explanations, outbox, queries
from storage.keeping import lease
from storage.migrations.schema import require_schema
from storage.reports import promises
from storage.trials import challenger
from tasks.callbacks import metrics
from tasks.callbacks.delivery import Deliverer
from tasks.housekeeping.retention import Retention
from tasks.order.chore import OrderKeeper

log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 0.5
"""How often the outbox is looked at when nothing was in it."""
_PAUSE_SECONDS: Final = 1.0
_NAME: Final = "housekeeping"


@dataclass(slots=True)
class _Chore:
    every_seconds: float
    do: Callable[[], bool]
    due_at: float = 0.0


class Housekeeper:
    """Does the chores while it leads, until `stop`.

    Args:
        holder: a name that no other process has.
        deliverer: sends callbacks; None where no receiver is set, and then they wait.
        retention_days: how long delivered callbacks are kept; 0 keeps them for good.
        retention: forgets all else that is old; None keeps it for good.
        challenger_days: how long what a challenger said is kept; 0 keeps it for good.
        order: keeps the queue in a learned order; None leaves it in the order of age.
        lease_seconds: how long the others wait for a leader that fell silent.
    """

    def __init__(
        self,
        database: Engine,
        *,
        holder: str,
        deliverer: Deliverer | None,
        retention_days: float,
        retention: Retention | None = None,
        challenger_days: float = 0,
        order: OrderKeeper | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._holder = holder
        self._deliverer = deliverer
        self._retention_days = retention_days
        self._retention = retention
        self._challenger_days = challenger_days
        self._order = order
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._not_ready: str | None = "the database has not answered yet"
        self._has_schema = False
        self._leads_until = 0.0
        self._was_leading = False
        self._next_try_at = 0.0
        self._measuring = _Chore(10.0, self._measure)
        self._chores = [
            _Chore(5.0, self._expire_claims),
            _Chore(3.0, self._put_in_order),
            _Chore(60.0, self._forget_callbacks),
            _Chore(600.0, self._let_looks_lapse),
            _Chore(60.0, self._forget_challenger),
            _Chore(300.0, self._retain),
        ]

    def not_ready(self) -> str | None:
        """Why this process cannot do its job, or None when it can. Standing by is its job too."""
        return self._not_ready

    @property
    def leads(self) -> bool:
        """Whether this process leads now."""
        return time.monotonic() < self._leads_until

    def stop(self) -> None:
        """End `run` soon; safe from any thread and from a signal's handler."""
        self._stopping.set()
        if self._deliverer is not None:
            self._deliverer.stop()

    def run(self) -> None:
        """Keep house until `stop`. Whatever fails is tried again: the database may come back."""
        log.info("housekeeping started", holder=self._holder, callbacks=self._deliverer is not None)
        while not self._stopping.is_set():
            try:
                busy = self._turn()
                self._set_ready(None)
            except StorageError as error:
                self._set_ready(str(error))
                self._stopping.wait(_PAUSE_SECONDS)
            except Exception as error:
                log.exception("housekeeping failed unexpectedly")
                self._set_ready(f"unexpected error: {error!r}")
                self._stopping.wait(_PAUSE_SECONDS)
            else:
                if not busy:
                    self._stopping.wait(IDLE_SECONDS)
        self._end()

    def _turn(self) -> bool:
        """Do what is due; gives whether more is waiting."""
        if not self._has_schema:
            require_schema(self._database)
            self._has_schema = True
        self._lead()
        self._do_if_due(self._measuring)
        if not self.leads:
            queries.ping(self._database)
            # What was begun while it led is settled all the same.
            return self._deliver(claiming=False)
        busy = False
        for chore in self._chores:
            busy |= self._do_if_due(chore)
        return self._deliver(claiming=True) or busy

    def _deliver(self, *, claiming: bool) -> bool:
        if self._deliverer is None:
            return False
        return self._deliverer.turn(self._database, wait_seconds=IDLE_SECONDS, claiming=claiming)

    def _lead(self) -> None:
        now = time.monotonic()
        if now >= self._next_try_at:
            with transaction(self._database) as connection:
                leads = lease.take(
                    connection, _NAME, holder=self._holder, seconds=self._lease_seconds
                )
            # Counted from before the database was asked, so that it ends here before it ends there.
            self._leads_until = now + self._lease_seconds if leads else 0.0
            self._next_try_at = now + self._lease_seconds / 4
        if self.leads != self._was_leading:
            self._was_leading = self.leads
            log.info("leads housekeeping" if self.leads else "stands by", holder=self._holder)
        metrics.LEADS.set(self.leads)

    def _do_if_due(self, chore: _Chore) -> bool:
        if time.monotonic() < chore.due_at:
            return False
        more = chore.do()
        chore.due_at = 0.0 if more else time.monotonic() + chore.every_seconds
        return more

    def _measure(self) -> bool:
        with transaction(self._database, read_only=True) as connection:
            found = outbox.backlog(connection)
            waiting = worklist.waiting(connection)
            overdue = promises.overdue(connection, now=datetime.now(UTC))
            unexplained = explanations.backlog(connection)
        metrics.PENDING.set(found.pending)
        metrics.PARKED.set(found.parked)
        metrics.OLDEST_AGE_SECONDS.set(found.oldest_age_seconds)
        metrics.EXPLANATIONS_PENDING.set(unexplained.pending)
        metrics.EXPLANATIONS_OLDEST_AGE_SECONDS.set(unexplained.oldest_age_seconds)
        metrics.FLAGS_OPEN.clear()
        metrics.FLAGS_OVERDUE.clear()
        for queue, states in waiting.items():
            metrics.FLAGS_OPEN.labels(queue).set(sum(states.values()))
            metrics.FLAGS_OVERDUE.labels(queue).set(overdue.get(queue, 0))
        return False

    def _expire_claims(self) -> bool:
        with transaction(self._database) as connection:
            expired = claims.expire(connection)
        if expired:
            metrics.EXPIRED_CLAIMS.inc(expired)
            log.info("claims expired", flags=expired)
        return expired > 0

    def _let_looks_lapse(self) -> bool:
        with transaction(self._database) as connection:
            lapsed = claims.let_looks_lapse(connection)
        if lapsed:
            log.info("looks that nobody took are closed", looks=lapsed)
        return False

    def _put_in_order(self) -> bool:
        if self._order is None:
            return False
        try:
            return self._order.turn(self._database)
        except StorageError as error:
            log.warning("flags are put in order later", error=str(error))
            return False

    def _forget_callbacks(self) -> bool:
        if not self._retention_days:
            return False
        with transaction(self._database) as connection:
            forgotten = outbox.forget_delivered(connection, days=self._retention_days)
        if forgotten:
            log.info("old callbacks deleted", callbacks=forgotten)
        return forgotten > 0

    def _retain(self) -> bool:
        if self._retention is None:
            return False
        try:
            return self._retention.turn(self._database)
        except StorageError as error:
            # An evidence store that is away is no reason to keep callbacks waiting.
            log.warning("old rows are deleted later", error=str(error))
            return False

    def _forget_challenger(self) -> bool:
        if not self._challenger_days:
            return False
        with transaction(self._database) as connection:
            forgotten = challenger.forget(connection, days=self._challenger_days)
        return forgotten > 0

    def _set_ready(self, problem: str | None) -> None:
        if problem != self._not_ready:
            if problem:
                log.warning("not ready", why=problem)
            else:
                log.info("ready", holder=self._holder)
        self._not_ready = problem
        metrics.READY.set(problem is None)

    def _end(self) -> None:
        self._not_ready = "housekeeping is stopping"
        metrics.READY.set(0)
        if self._order is not None:
            self._order.close()
        try:
            if self._deliverer is not None:
                self._deliverer.close(self._database)
            if self.leads:
                with transaction(self._database) as connection:
                    lease.release(connection, _NAME, holder=self._holder)
        except StorageError as error:
            log.warning("callbacks in hand are tried again later", error=str(error))
        metrics.LEADS.set(0)
        log.info("housekeeping ended", holder=self._holder)
