"""The console as an ASGI application: pages for moderators, JSON for programs."""

from __future__ import annotations

import os

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine

from console.api import flags as api_flags
from console.api import oversight as api_oversight
from console.api import posts as api_posts
from console.api import reviews as api_reviews
from console.pages import bulk, erasure, flag, queue, reports, review
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
from storage.flags.sampling import Sampling
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from tasks.intake.intake import Intake
from tasks.policy.reason_codes import ReasonCodes, read_reason_codes

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


def create_app(
    *,
    database: Engine,
    intake: Intake,
    evidence: EvidenceStore,
    secret_key: str,
    claim_seconds: float = 300.0,
    reasons: ReasonCodes | None = None,
    report_decisions: bool = False,
    second_review_share: float = 0.0,
    known_answer_share: float = 0.0,
    url: str = "",
    provider: Provider | None = None,
    passwords: bool = True,
) -> FastAPI:
    """The console.

    Args:
        secret_key: signs what people who are not signed in carry.
        claim_seconds: how long a moderator holds a flag without doing anything.
        reasons: what moderators choose a reason from; those of the policy that ships if left out.
        report_decisions: whether the platform is told of them by callbacks.
        second_review_share: the share of decisions that somebody else looks at too.
        known_answer_share: how often the next flag is one whose answer is known.
        url: where browsers reach it; empty takes what each request says.
        provider: by which people may sign in.
        passwords: whether they may sign in with passwords.
    """
    app = FastAPI(
        title="Deadpan",
        version=__version__,
        summary="Flags and what moderators decided of them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.console = Console(
        database=database,
        intake=intake,
        evidence=evidence,
        secret_key=secret_key,
        claim_seconds=claim_seconds,
        reasons=reasons if reasons is not None else read_reason_codes(),
        report_decisions=report_decisions,
        second_looks=Sampling(second_review_share, secret_key),
        known_share=known_answer_share,
        url=url,
        passwords=passwords,
    )
    app.state.provider = provider
    app.state.pictures = Pictures(evidence)
    app.state.insight = reports.InsightCache()
    for part in (
        own,
        metrics,
        sign_in,
        sign_in_openid,
        queue,
        flag,
        review,
        bulk,
        reports,
        accounts,
        erasure,
        api_posts,
        api_flags,
        api_reviews,
        api_oversight,
    ):
        app.include_router(part if isinstance(part, APIRouter) else part.router)
    app.mount("/static", StaticFiles(directory=render.STATIC), name="static")
    render.install(app)
    app.add_middleware(Edges)
    app.add_middleware(Traced)
    return app
