"""Insight: four questions about the work, and what the model does not see."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from console.web import plots, sentences
from console.web.access import GuardedRoute
from console.web.render import page
from console.web.state import Console, console_of, visitor_of
from console.web.words import excerpt
from storage.base.database import transaction
from storage.flags import worklist
from storage.reports import answers, drift, forecast, insight, promises, recall
from storage.reviews import fairness, known_answers
from storage.trials import comparison

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
Days = Annotated[int, Query(ge=1, le=90)]
_MISSED: Final = 50
_LESSONS: Final = 10
_INSIGHT_SECONDS = 60.0
_STALE_SECONDS = 120.0
"""Older numbers are shown to nobody: those of before lunch would stand beside what is new."""


class InsightCache:
    """Numbers of the last days. They take a look at every flag that was decided in them, so they
    are counted beside the pages, one after the other, at most once a minute while somebody asks.

    Attributes:
        patience_seconds: how long a page waits for new numbers.
    """

    def __init__(self, patience_seconds: float = 0.05) -> None:
        self.patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[float, dict[str, Any]]] = {}
        self._counting: dict[int, Future[dict[str, Any]]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="insight")

    def of(
        self, console: Console, days: int, *, patience_seconds: float | None = None
    ) -> dict[str, Any] | None:
        """The numbers of so many days; None if those that are there are old, and are counted anew.

        Raises:
            StorageError: they could not be counted.
        """
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        with self._lock:
            counted_at, numbers = self._kept.get(days, (None, None))
            age = None if counted_at is None else time.monotonic() - counted_at
            if age is not None and age < _INSIGHT_SECONDS:
                return numbers
            counting = self._counting.get(days)
            if counting is None or counting.done():
                counting = self._pool.submit(self._count, console, days)
                self._counting[days] = counting
        try:
            return counting.result(patience)
        except TimeoutError:
            return numbers if age is not None and age < _STALE_SECONDS else None

    def _count(self, console: Console, days: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        numbers = counted(console, since=now - timedelta(days=days), now=now)
        with self._lock:
            self._kept[days] = (time.monotonic(), numbers)
        return numbers


def counted(console: Console, *, since: datetime, now: datetime) -> dict[str, Any]:
    """Everything that Insight tells of this time, in the order of its questions."""
    console.waiting()  # ends claims that are over
    with transaction(console.database, read_only=True) as connection:
        backlog = worklist.waiting(connection)
        hours = forecast.hours(connection, since=now - forecast.COUNTED)
        waiting = sum(number for states in backlog.values() for number in states.values())
        return {
            "waiting_now": waiting,
            "at": now,
            "backlog": backlog,
            "oldest": worklist.oldest(connection),
            "forecasts": promises.forecast(connection, now=now),
            "outlook": forecast.outlook(hours, waiting=waiting, now=now),
            "days": hours.days(until=now),
            "decided": insight.decided(connection, since=since),
            "precision": insight.precision(connection, since=since),
            "recall": recall.measured(connection, since=since, until=now),
            "appeals": insight.appeals(connection, since=since),
            "agreement": fairness.agreement(connection, since=since),
            "hits": fairness.hit_rates(connection, since=since),
            "answers": answers.answers(connection, since=since),
            "drift": drift.drift(connection, now=now),
            "canary": comparison.brief(connection, since=since),
            "loads": insight.loads(connection, since=since),
            "quick_flags": insight.quick_flags(connection, since=since),
        }


@router.get("/insight")
def insight_page(request: Request, days: Days = 30) -> Response:
    """Whether the team keeps up, is right, the model is right, and people are well."""
    console, me = console_of(request), visitor_of(request).moderator
    numbers = request.app.state.insight.of(console, days)
    if numbers is None:
        return _counting(request, days)
    loads = [each for each in numbers["loads"] if me.is_lead or each.moderator == me.name]
    with transaction(console.database, read_only=True) as connection:
        lessons = known_answers.lessons(connection, me, limit=_LESSONS)
    numbers = numbers | {  # not in place: others read them too
        "loads": loads,
        "hits": [each for each in numbers["hits"] if me.is_lead or each.moderator == me.name],
    }
    numbers |= said(numbers, lead=me.is_lead)
    return page(
        request,
        "insight.html",
        **numbers,
        span=days,
        lessons=lessons,
        plots=plots,
        measures=sentences.MEASURES,
        share=sentences.share_words,
    )


def said(numbers: dict[str, Any], *, lead: bool) -> dict[str, sentences.Answer]:
    """The four answers, in words.

    Args:
        lead: whether they are for a lead; for others, `loads` are of themselves alone.
    """
    n = numbers
    return {
        "keeping_up": sentences.keeping_up(
            n["waiting_now"], n["oldest"], n["forecasts"], n["outlook"], n["at"]
        ),
        "people_right": sentences.people_right(
            n["decided"], n["appeals"], n["agreement"], n["recall"], lead=lead
        ),
        "model_right": sentences.model_right(n["answers"], n["drift"]),
        "people_well": sentences.people_well(n["loads"], lead=lead),
    }


@router.get("/recall")
def recall_page(request: Request, days: Days = 30) -> Response:
    """What the model finds and what it does not see, from looks at unflagged posts."""
    console = console_of(request)
    numbers = request.app.state.insight.of(console, days)
    if numbers is None:
        return _counting(request, days)
    with transaction(console.database, read_only=True) as connection:
        missed = recall.missed_posts(connection, limit=_MISSED)
    return page(
        request,
        "recall.html",
        measured=numbers["recall"],
        at=numbers["at"],
        span=days,
        missed=[
            {"flag": flag, "text": excerpt(console.text(flag.verdict.evidence, "original_text"))}
            for flag in missed
        ],
    )


def _counting(request: Request, days: int) -> Response:
    counting = page(request, "counting.html", span=days)
    counting.headers["Refresh"] = "2"  # comes back by itself, without a script too
    return counting
