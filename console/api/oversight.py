"""What leads watch over, through the JSON API: decisions, backlog, agreement, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query, Request

from console.api import review_shapes, shapes
from console.api.parts import new_router
from console.api.shapes import Limit
from console.web.fields import BeforeId, one_page
from console.web.state import console_of
from console.work import blind
from storage.base.database import transaction
from storage.flags import decisions
from storage.people import audit
from storage.reports import promises
from storage.reviews import fairness

router = new_router()


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


@router.get("/api/v1/agreement")
def agreement(
    request: Request, days: Annotated[int, Query(ge=1, le=90)] = 30
) -> review_shapes.Agreement:
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
