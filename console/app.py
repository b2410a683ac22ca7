"""The console's pages and its JSON API.

A thin console: it shows open flags with why they were flagged, and answers for single posts.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from console.access import VALID_SECONDS, AccessDenied, check_token
from deadpan import __version__
from deadpan.errors import (
    ConfigurationError,
    DeadpanError,
    EvidenceUnavailable,
    QueueUnavailable,
    StorageError,
)
from storage import queries
from storage.database import transaction
from storage.evidence import EvidenceStore
from tasks.intake import Intake

COOKIE = "deadpan_console"
PAGE_SIZE = 50

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Enqueue(BaseModel):
    """Post ids to judge."""

    post_ids: list[str] = Field(min_length=1, max_length=1000)
    priority: Literal["high", "normal", "low"] = "normal"


def create_app(
    *, database: Engine, intake: Intake, evidence: EvidenceStore, secret_key: str
) -> FastAPI:
    """The console as an ASGI application."""
    app = FastAPI(
        title="Deadpan", version=__version__, docs_url=None, redoc_url=None, openapi_url=None
    )
    folder = Path(__file__).parent
    templates = Jinja2Templates(folder / "templates")
    app.mount("/static", StaticFiles(directory=folder / "static"), name="static")

    def signed_in(request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        bearer = token if scheme.lower() == "bearer" else None
        check_token(secret_key, bearer or request.cookies.get(COOKIE))

    access = [Depends(signed_in)]

    @app.middleware("http")
    async def _headers(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await answer(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(DeadpanError)
    async def _problem(request: Request, error: DeadpanError) -> Response:
        status = _status(error)
        if request.url.path.startswith("/api/"):
            return JSONResponse(
                {"type": "about:blank", "status": status, "detail": str(error)},
                status,
                media_type="application/problem+json",
            )
        return templates.TemplateResponse(
            request, "problem.html", {"status": status, "detail": str(error)}, status_code=status
        )

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        try:
            intake.ping()
            queries.ping(database)
        except DeadpanError as error:
            return JSONResponse({"ready": False, "why": str(error)}, 503)
        return JSONResponse({"ready": True, "why": None})

    @app.get("/sign-in")
    def sign_in(token: str) -> Response:
        check_token(secret_key, token)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, token, max_age=VALID_SECONDS, httponly=True, samesite="lax")
        return response

    @app.get("/", response_class=HTMLResponse, dependencies=access)
    def flags_page(request: Request, queue: str | None = None) -> Response:
        with transaction(database, read_only=True) as connection:
            flags = queries.open_flags(connection, queue=queue, limit=PAGE_SIZE)
            counts = asdict(queries.counts(connection))
        shown = [{"flag": flag, "text": _text(flag, evidence)} for flag in flags]
        return templates.TemplateResponse(
            request, "flags.html", {"shown": shown, "counts": counts, "queue": queue}
        )

    @app.get("/evidence/{sha256}", dependencies=access)
    def picture(sha256: str) -> Response:
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise HTTPException(404, "no such evidence")
        with transaction(database, read_only=True) as connection:
            kind = queries.evidence_kind(connection, sha256)
        if kind != "image":
            raise HTTPException(404, "no such picture")
        return Response(evidence.get(sha256), media_type="image/jpeg")

    @app.post("/api/v1/posts", status_code=202, dependencies=access)
    def enqueue(wanted: Enqueue) -> dict[str, Any]:
        return {"pushed": intake.enqueue(wanted.post_ids, wanted.priority)}

    @app.get("/api/v1/verdicts/{post_id:path}", dependencies=access)
    def verdict(post_id: str) -> dict[str, Any]:
        with transaction(database, read_only=True) as connection:
            found = queries.latest_verdict(connection, post_id)
            outcome = queries.outcome_of(connection, [post_id]).get(post_id)
        if outcome is None:
            raise HTTPException(404, f"post {post_id!r} has no outcome; it may still wait")
        return {
            "post_id": post_id,
            "outcome": outcome,
            "verdict": jsonable_encoder(asdict(found)) if found else None,
        }

    @app.get("/api/v1/flags", dependencies=access)
    def flags(
        queue: str | None = None, limit: Annotated[int, Query(ge=1, le=500)] = PAGE_SIZE
    ) -> dict[str, Any]:
        with transaction(database, read_only=True) as connection:
            found = queries.open_flags(connection, queue=queue, limit=limit)
        return {"flags": [jsonable_encoder(asdict(flag)) for flag in found]}

    return app


def _status(error: DeadpanError) -> int:
    kinds: tuple[tuple[type[DeadpanError], int], ...] = (
        (AccessDenied, 401),
        (ConfigurationError, 422),
        (EvidenceUnavailable, 404),
        (QueueUnavailable, 503),
        (StorageError, 503),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def _text(flag: queries.Flag, evidence: EvidenceStore) -> str:
    """What the author wrote, from the evidence; never fetched from the platform."""
    for item in flag.verdict.evidence:
        if item["kind"] == "original_text":
            try:
                text = evidence.get(item["sha256"]).decode("utf-8", "replace")
            except EvidenceUnavailable as error:
                return f"({error})"
            return text
    return ""
