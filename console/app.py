"""The console as an ASGI application: pages for moderators, JSON for programs."""

from __future__ import annotations

import os

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from console.api import flags as api_flags
from console.api import oversight as api_oversight
from console.api import policy as api_policy
from console.api import posts as api_posts
from console.api import reviews as api_reviews
from console.api import team as api_team
from console.pages import (
    author,
    bulk,
    erasure,
    flag,
    insight,
    policy,
    queue,
    reports,
    review,
    views,
)
from console.people import accounts, sign_in, sign_in_openid
from console.people.openid import Provider
from console.web import metrics, render
from console.web.access import GuardedRoute
from console.web.edges import Edges
from console.web.state import Console, console_of
from console.web.traced import Traced
from console.work.pictures import Pictures
from deadpan.core import __version__
from deadpan.core.errors import DeadpanError
from storage.judging import queries

own = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@own.get("/healthz")
def healthz() -> dict[str, str | int]:
    """Whether the process lives, and which it is: another may have its port."""
    return {"status": "alive", "process": "console", "pid": os.getpid()}


@own.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Whether the console can do its work."""
    console = console_of(request)
    try:
        console.intake.ping()
        queries.ping(console.database)
    except DeadpanError as error:
        return JSONResponse({"ready": False, "why": str(error)}, 503)
    return JSONResponse({"ready": True, "why": None})


@own.get("/api/v1/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


def create_app(console: Console, *, provider: Provider | None = None) -> FastAPI:
    """The console.

    Args:
        provider: with which people may sign in.
    """
    app = FastAPI(
        title="Deadpan",
        version=__version__,
        summary="Flags, and what moderators decided about them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.console = console
    app.state.provider = provider
    app.state.pictures = Pictures(console.evidence)
    app.state.insight = insight.InsightCache()
    for part in (
        own,
        metrics,
        sign_in,
        sign_in_openid,
        queue,
        flag,
        review,
        author,
        bulk,
        views,
        insight,
        reports,
        policy,
        accounts,
        erasure,
        api_posts,
        api_flags,
        api_reviews,
        api_oversight,
        api_policy,
        api_team,
    ):
        app.include_router(part if isinstance(part, APIRouter) else part.router)
    app.mount("/static", StaticFiles(directory=render.STATIC), name="static")
    render.install(app)
    app.add_middleware(Edges)
    app.add_middleware(Traced)
    return app
