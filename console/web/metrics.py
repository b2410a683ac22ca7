"""/metrics of the console: what waits for moderators, and the process itself."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    generate_latest,
)

from console.web.access import GuardedRoute
from console.web.state import console_of
from storage.tables import UNCLOSED_STATES

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """For Prometheus, which needs an API token: who may read it is not anybody on the network."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    flags = Gauge(
        "deadpan_flags_open", "Flags that wait for a moderator.", ["queue"], registry=registry
    )
    late = Gauge(
        "deadpan_flags_overdue",
        "Flags that wait past the time that the policy promises.",
        ["queue"],
        registry=registry,
    )
    overdue = console_of(request).overdue()
    for queue, states in console_of(request).waiting().items():
        flags.labels(queue).set(sum(states.get(state, 0) for state in UNCLOSED_STATES))
        late.labels(queue).set(overdue.get(queue, 0))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
