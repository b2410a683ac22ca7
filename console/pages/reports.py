"""Looking back: history, insight, the audit log and what of it can be taken along."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import Response, StreamingResponse

from console.web import plots
from console.web.access import GuardedRoute
from console.web.fields import BeforeId, clean, one_page
from console.web.render import page
from console.web.state import Console, audited, console_of, visitor_of
from console.web.words import excerpt
from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.people import audit
from storage.reports import insight, labelled, promises, recall
from storage.reviews import fairness, reviews
from storage.trials import comparison

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
_ROWS = 50
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

    def of(self, console: Console, days: int) -> dict[str, Any] | None:
        """The numbers of so many days; None if those that are there are old, and are counted anew.

        Raises:
            StorageError: they could not be counted.
        """
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
            return counting.result(self.patience_seconds)
        except TimeoutError:
            return numbers if age is not None and age < _STALE_SECONDS else None

    def _count(self, console: Console, days: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        since = now - timedelta(days=days)
        console.waiting()  # ends claims that are over
        with transaction(console.database, read_only=True) as connection:
            numbers = {
                "precision": insight.precision(connection, since=since),
                "waits": insight.waits(connection, since=since),
                "loads": insight.loads(connection, since=since),
                "days": insight.days(connection, until=now),
                "recall": recall.measured(connection, since=since, until=now),
                "agreement": fairness.agreement(connection, since=since),
                "hits": fairness.hit_rates(connection, since=since),
                "canary": comparison.brief(connection, since=since),
                "backlog": worklist.waiting(connection),
                "forecasts": promises.forecast(connection, now=now),
                "oldest": worklist.oldest(connection),
                "at": now,
            }
        with self._lock:
            self._kept[days] = (time.monotonic(), numbers)
        return numbers


@router.get("/history")
def history(request: Request, before: BeforeId = None, whose: str = "") -> Response:
    """Decisions, newest first."""
    me = visitor_of(request).moderator
    with transaction(console_of(request).database, read_only=True) as connection:
        rows = decisions.history(
            connection,
            limit=_ROWS + 1,
            before_id=before,
            moderator_id=me.id if whose == "mine" else None,
        )
        not_now = reviews.hidden_from(connection, me, {row.flag_id for row in rows})
    rows, more = one_page(rows, _ROWS)
    return page(
        request,
        "history.html",
        rows=[row for row in rows if row.flag_id not in not_now],
        more=more,
        whose=whose,
    )


@router.get("/insight")
def insight_page(request: Request, days: Annotated[int, Query(ge=1, le=90)] = 30) -> Response:
    """What flags and decisions add up to."""
    cache: InsightCache = request.app.state.insight
    numbers = cache.of(console_of(request), days)
    if numbers is None:
        counting = page(request, "counting.html", span=days)
        counting.headers["Refresh"] = "2"  # comes back by itself, without a script too
        return counting
    return page(
        request,
        "insight.html",
        **numbers,
        span=days,
        trend=plots.trend(numbers["days"]),
        waits_plot=plots.waits(numbers["waits"]),
        decided=sum(numbers["waits"]),
    )


@router.get("/recall")
def recall_page(request: Request, days: Annotated[int, Query(ge=1, le=90)] = 30) -> Response:
    """What the model finds and what it does not see, from looks at unflagged posts."""
    cache: InsightCache = request.app.state.insight
    console = console_of(request)
    numbers = cache.of(console, days)
    if numbers is None:
        counting = page(request, "counting.html", span=days)
        counting.headers["Refresh"] = "2"
        return counting
    with transaction(console.database, read_only=True) as connection:
        missed = recall.missed_posts(connection, limit=_ROWS)
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


@router.get("/audit")
def audit_page(
    request: Request, before: BeforeId = None, actor: str = "", action: str = ""
) -> Response:
    """Who did what."""
    actor, action = clean(actor), clean(action)
    with transaction(console_of(request).database, read_only=True) as connection:
        rows = audit.read(connection, limit=_ROWS + 1, before_id=before, actor=actor, action=action)
    rows, more = one_page(rows, _ROWS)
    return page(request, "audit.html", rows=rows, more=more, actor=actor, action=action)


@router.get("/audit.jsonl")
def audit_export(request: Request) -> Response:
    """The whole log, one entry a line, oldest first."""
    console = console_of(request)
    audited(request, "export", "audit log")

    def lines() -> Iterator[str]:
        with transaction(console.database, read_only=True) as connection:
            for entry in audit.read_all(connection):
                yield _line(asdict(entry))

    return _download(lines(), "audit.jsonl")


@router.get("/decisions.jsonl")
def decisions_export(request: Request) -> Response:
    """Every decision, one a line, newest first."""
    console = console_of(request)
    audited(request, "export", "decisions")

    def lines() -> Iterator[str]:
        before: int | None = None
        with transaction(console.database, read_only=True) as connection:
            while rows := decisions.history(connection, limit=1000, before_id=before):
                for row in rows:
                    yield _line(asdict(row))
                before = rows[-1].id

    return _download(lines(), "decisions.jsonl")


@router.get("/labelled-posts.zip")
def labelled_export(request: Request, since: str = "") -> Response:
    """Posts as moderators labelled them, with their pictures, for `deadpan train`."""
    console = console_of(request)
    since = clean(since)
    start = labelled.moment(since) if since else None
    audited(request, "export", "labelled posts", {"since": since} if since else None)

    def pieces() -> Iterator[bytes]:
        with transaction(console.database, read_only=True) as connection:
            yield from labelled.zipped(connection, console.evidence, since=start)

    return StreamingResponse(
        pieces(),
        media_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="labelled-posts.zip"'},
    )


def _line(row: dict[str, Any]) -> str:
    return json.dumps(jsonable_encoder(row), ensure_ascii=False) + "\n"


def _download(lines: Iterator[str], name: str) -> Response:
    return StreamingResponse(
        lines,
        media_type="application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
