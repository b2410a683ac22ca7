"""Keeping the queue in a learned order: placing flags as they come, learning again now and then."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from storage.base.database import transaction
from storage.flags import placing
from storage.flags.placing import Known
from storage.tables import LearnedOrder
from tasks.order import learned
from tasks.order.learned import MAX_DECISIONS, MIN_DECISIONS, Ranker, Trained

log = structlog.get_logger(__name__)

_PLACED_AT_ONCE: Final = 500
_NEWS: Final = 0.1
"""It learns again when there are so many more decisions than it learnt from, as a share of them."""
_LEAST_NEWS: Final = 50
_MOST_NEWS: Final = 1000
_ASKED_EVERY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ordering:
    """How the queue is to be ordered.

    Attributes:
        on: whether by a learned order, once there is one.
        bound_hours: by how much a flag is put ahead of its age at most.
        random_share: of flags that are put ahead by chance.
        authors: whether an author's record counts.
    """

    on: bool = True
    bound_hours: float = 24.0
    random_share: float = 0.1
    authors: bool = False


class OrderKeeper:
    """Learns and places, a step a turn. Used by one thread, and one of its own for learning."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering
        self._asked_at: datetime | None = None
        self._learning: Future[Trained | None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="learn order")
        self._ranker: tuple[int, Ranker] | None = None
        self._placed_to: int | None = None
        self._is_cleared = False

    def turn(self, database: Engine, *, now: datetime | None = None) -> bool:
        """Do what is due; gives whether there is more.

        Raises:
            StorageError: what is left is done later.
        """
        moment = now if now is not None else datetime.now(UTC)
        if self._ordering.on:
            self._learn(database, moment)
        with transaction(database) as connection:
            return self._place(connection)

    def learn_now(self, database: Engine, *, now: datetime) -> None:
        """Learn at once from what is decided, if it is enough.

        Raises:
            StorageError: nothing was learnt.
        """
        if (trained := learn(database, self._ordering)) is not None:
            with transaction(database) as connection:
                keep(connection, trained, now=now)
        self._asked_at = now

    def close(self) -> None:
        """Learn nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _learn(self, database: Engine, now: datetime) -> None:
        """Beside the rest of the house: callbacks do not wait for it."""
        if self._learning is not None:
            if not self._learning.done():
                return
            done, self._learning = self._learning, None
            if (trained := done.result()) is not None:
                with transaction(database) as connection:
                    keep(connection, trained, now=now)
            return
        if self._asked_at is not None and now - self._asked_at < _ASKED_EVERY:
            return
        self._asked_at = now
        with transaction(database, read_only=True) as connection:
            last, used = placing.last_tried(connection), placing.order_in_use(connection)
            news = placing.decided_since(connection, last.decided_until if last else None)
        if news >= _news_needed(last) or (used is not None and not self._may_use(used)):
            self._learning = self._thread.submit(learn, database, self._ordering)

    def _may_use(self, order: LearnedOrder) -> bool:
        """Whether the policy still allows what an order looks at."""
        looks_at_authors = order.model is not None and order.model["columns"]["authors"]
        return self._ordering.authors or not looks_at_authors

    def _place(self, connection: Connection) -> bool:
        used = placing.order_in_use(connection) if self._ordering.on else None
        if used is None or used.model is None or not self._may_use(used):
            self._ranker = self._placed_to = None
            if self._is_cleared:
                return False
            cleared = placing.by_age(connection, limit=_PLACED_AT_ONCE)
            self._is_cleared = cleared < _PLACED_AT_ONCE
            return not self._is_cleared
        self._is_cleared = False
        if self._ranker is None or self._ranker[0] != used.id:
            self._ranker = (used.id, Ranker.from_row(used.model))
            self._placed_to = 0  # all that wait are placed by it, also by one who began before
        if self._placed_to is not None:
            flags = placing.waiting(connection, after_id=self._placed_to, limit=_PLACED_AT_ONCE)
            self._placed_to = flags[-1].id if len(flags) == _PLACED_AT_ONCE else None
        else:
            flags = placing.waiting(connection, after_id=None, limit=_PLACED_AT_ONCE)
        place(connection, flags, used.id, self._ranker[1], self._ordering)
        return len(flags) == _PLACED_AT_ONCE


def learn(database: Engine, ordering: Ordering) -> Trained | None:
    """Learns from what is decided, without storing anything; None where that is too little."""
    with transaction(database, read_only=True) as connection:
        flags = placing.decided(connection, limit=MAX_DECISIONS)
        used = placing.order_in_use(connection)
    if len(flags) < MIN_DECISIONS:
        return None
    model = None if used is None or used.model is None else Ranker.from_row(used.model)
    return learned.train(flags, authors=ordering.authors, used=model)


def keep(connection: Connection, trained: Trained, *, now: datetime) -> int:
    """Stores what was learnt, and uses it if it is good enough."""
    log.info(
        "learned an order of flags" if trained.ranker else "learned no order of flags",
        why=trained.why,
        decisions=trained.decisions,
    )
    if trained.used_is_no_good:
        placing.retire_order(connection)
    return placing.keep_order(
        connection,
        trained_at=now,
        decided_until=trained.decided_until,
        decisions=trained.decisions,
        why=trained.why,
        evaluation=trained.evaluation,
        model=None if trained.ranker is None else trained.ranker.as_row(),
    )


def place(
    connection: Connection,
    flags: list[Known],
    order_id: int,
    ranker: Ranker,
    ordering: Ordering,
) -> None:
    """Puts locked flags where they belong."""
    if ranker.columns.authors:
        authors = {flag.author for flag in flags if flag.author is not None}
        records = placing.records_of(connection, authors)
        flags = [
            replace(flag, author_removed=record[0], author_decided=record[1])
            for flag in flags
            for record in [records.get(flag.author or "", (0, 0))]
        ]
    found = learned.places(
        flags,
        ranker,
        order_id=order_id,
        bound=timedelta(hours=ordering.bound_hours),
        random_share=ordering.random_share,
    )
    placing.put(connection, found)


def _news_needed(last: LearnedOrder | None) -> int:
    if last is None:
        return MIN_DECISIONS
    return min(max(_LEAST_NEWS, round(_NEWS * last.decisions)), _MOST_NEWS)
