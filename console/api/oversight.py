"""What leads watch over, through the JSON API: decisions, insight, agreement and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import Request

from console.api import insight_shapes, review_shapes, shapes
from console.api.parts import new_router
from console.api.shapes import Limit
from console.pages.insight import Days, said
from console.web.fields import BeforeId, one_page
from console.web.state import console_of
from console.work import blind
from deadpan.core.errors import StorageError
from storage.base.database import transaction
from storage.flags import decisions
from storage.people import audit
from storage.reports import promises
from storage.reports.statistics import Share
from storage.reviews import fairness

router = new_router()
_PATIENCE_SECONDS: Final = 30.0


@router.get("/api/v1/decisions")
def decision_list(request: Request, before: BeforeId = None, limit: Limit = 50) -> shapes.Decisions:
    """List decisions, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = decisions.history(connection, limit=limit + 1, before_id=before)
    not_now = blind.hidden(request, {each.flag_id for each in found})
    shown, more = one_page(found, limit)
    return shapes.Decisions(
        decisions=[
            shapes.Decision.model_validate(each) for each in shown if each.flag_id not in not_now
        ],
        next_before=more,
    )


@router.get("/api/v1/backlog")
def backlog(request: Request) -> shapes.Backlog:
    """Say of each queue what waits, what is overdue, and how fast it was worked through."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = promises.forecast(connection, now=datetime.now(UTC))
    return shapes.Backlog(queues=[shapes.Forecast.model_validate(each) for each in found])


@router.get("/api/v1/insight")
def insight(request: Request, days: Days = 30) -> insight_shapes.Insight:
    """Say whether the team keeps up, is right, the model is right, and people are well.

    It is counted at most once a minute. Each number has its interval where it is a share.
    """
    numbers = request.app.state.insight.of(
        console_of(request), days, patience_seconds=_PATIENCE_SECONDS
    )
    if numbers is None:
        raise StorageError("counting takes longer than usual; please ask again in a minute")
    answers = {name: str(answer) for name, answer in said(numbers, lead=True).items()}
    decided, told, measured = numbers["decided"], numbers["answers"], numbers["recall"]
    agreed = numbers["agreement"]
    # Numbers are counted into the classes of storage, and read from their attributes.
    return insight_shapes.Insight.model_validate(
        {
            "at": numbers["at"],
            "days": days,
            "keeping_up": {
                "answer": answers["keeping_up"],
                "waiting": numbers["waiting_now"],
                "oldest": numbers["oldest"],
                "outlook": numbers["outlook"],
                "days": numbers["days"],
                "decided": decided.flags,
                "waits": decided.waits,
                "in_time": decided.kept,
            },
            "people_right": {
                "answer": answers["people_right"],
                "removed": decided.removed,
                "rules": numbers["precision"],
                "recall": None if measured is None else measured.rates.everything.recall,
                "overturned": numbers["appeals"].overturned,
                "overturned_flags": numbers["appeals"].flags,
                "agreed": Share.of(agreed.same, agreed.looks),
            },
            "model_right": {
                "answer": answers["model_right"],
                **{name: getattr(told, name) for name in told.__slots__},
                "drift": numbers["drift"],
            },
            "people_well": {
                "answer": answers["people_well"],
                "moderators": numbers["loads"],
                "quick_flags": numbers["quick_flags"],
            },
        }
    )


@router.get("/api/v1/agreement")
def agreement(request: Request, days: Days = 30) -> review_shapes.Agreement:
    """Say how much moderators agree, and how often they gave a known answer."""
    since = datetime.now(UTC) - timedelta(days=days)
    with transaction(console_of(request).database, read_only=True) as connection:
        found = fairness.agreement(connection, since=since)
        rates = fairness.hit_rates(connection, since=since)
    told = review_shapes.Agreement.model_validate(found)
    told.known_answers = [review_shapes.HitRate.model_validate(each) for each in rates]
    return told


@router.get("/api/v1/audit")
def audit_log(request: Request, before: BeforeId = None, limit: Limit = 50) -> shapes.Entries:
    """Read the audit log, newest first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = audit.read(connection, limit=limit + 1, before_id=before)
    shown, more = one_page(found, limit)
    return shapes.Entries(
        entries=[shapes.Entry.model_validate(each) for each in shown], next_before=more
    )
