"""Pages from templates, and answers to what went wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException
from starlette.routing import Match

from console.web import reasons, words
from console.web.fields import what_is_wrong
from console.web.state import Visitor, console_of, visitor_of
from deadpan.core.errors import (
    AccessDenied,
    ConfigurationError,
    DeadpanError,
    EvidenceUnavailable,
    FlagConflict,
    NotFound,
    QueueUnavailable,
    SignInUnavailable,
    StorageError,
)
from storage.base.database import transaction
from storage.flags import summons
from storage.people import exposures

#: Forms of these pages send to addresses below their own.
_FORM_ON = re.compile(r"(/(?:flags|reviews)/\d{1,19})/")
PROBLEM = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Please sign in",
    403: "Not allowed for your role",
    404: "Not found",
    405: "Method not allowed",
    409: "Already taken or changed",
    422: "Invalid input",
    429: "Please wait a moment",
    500: "Something went wrong",
    503: "Service unavailable",
}
#: What the framework says by itself.
_UNSAID = {
    "Not Found": "there is no page at this address",
    "Method Not Allowed": "this address only accepts forms sent from a page of the console",
}

STATIC = Path(__file__).parent / "static"


def asset(name: str) -> str:
    """The address of a static file, another one for another content, so that browsers keep it."""
    return f"/static/{name}?v={_digest(name)}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


templates = Jinja2Templates(Path(__file__).parent / "templates")
templates.env.globals["asset"] = asset
templates.env.filters |= {
    "ago": words.ago,
    "brief": words.brief,
    "due": words.due,
    "stamp": words.stamp,
    "duration": words.duration,
    "condition": words.condition_words,
    "score_brief": words.score_brief,
    "asks": lambda condition: words.asks_for(
        condition.score, condition.comparison, condition.threshold
    ),
    "rule": words.rule_words,
    "placed": words.placed,
    "score": words.score_words,
    "reason": reasons.words,
    "thresholds": words.thresholds,
    "done": lambda action: words.DONE.get(action, action),
    "number": lambda number: f"{number:,}",
}


def page(request: Request, template: str, /, *, status: int = 200, **context: Any) -> Response:
    """A page, with who is signed in and what waits in its header. It may show how long ago things
    were, and name reasons."""
    console = console_of(request)
    context = {"now": datetime.now(UTC), "reasons": console.reasons} | context
    visitor = getattr(request.state, "visitor", None)
    if isinstance(visitor, Visitor):
        context |= {"me": visitor.moderator, "csrf": visitor.csrf}
        exact = request.url.path == "/" or request.method != "GET"
        context["waiting"] = console.waiting(exact=exact)
        if visitor.moderator.may("moderator"):
            with transaction(console.database, read_only=True) as connection:
                context["exposure"] = exposures.this_hour(connection, visitor.moderator)
                context["for_you"] = summons.count(connection, visitor.moderator)
    return templates.TemplateResponse(request, template, context, status_code=status)


def part(request: Request, template: str, /, **context: Any) -> Response:
    """A part of a page, for a script to put into it."""
    context = {"now": datetime.now(UTC), "me": visitor_of(request).moderator} | context
    return templates.TemplateResponse(request, template, context)


def see_other(path: str) -> Response:
    """Where to go after a form; the back button does not send it again."""
    return RedirectResponse(path, 303)


def status_of(error: DeadpanError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, AccessDenied):
        return 403 if error.signed_in else 401
    kinds: tuple[tuple[type[DeadpanError], int], ...] = (
        (ConfigurationError, 422),
        (FlagConflict, 409),
        (NotFound, 404),
        (EvidenceUnavailable, 404),
        (QueueUnavailable, 503),
        (SignInUnavailable, 503),
        (StorageError, 503),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def install(app: FastAPI) -> None:
    """Answers errors in the way of whoever asked: a page, or application/problem+json."""

    @app.exception_handler(DeadpanError)
    def _ours(request: Request, error: DeadpanError) -> Response:
        return _answer(request, status_of(error), str(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        headers = error.headers
        if error.status_code == 405:
            # the framework names the methods of the first route with this path, and not of all
            headers = {"Allow": ", ".join(_methods_at(app, request))}
        return _answer(request, error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        wrong = error.errors()
        if request.url.path.startswith("/api/"):
            return _answer(request, 422, "; ".join(map(_told_to_programs, wrong)))
        if any(each["loc"][0] == "path" for each in wrong):
            return _answer(request, 404, "there is no page at this address")
        # Without the value: what a browser sends may be a password.
        said = "; ".join(f"{_place(each)}: {what_is_wrong(each)}" for each in wrong)
        return _answer(request, 422, said)

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> Response:
        # What it was is in the log, where the server writes it after this answer.
        said = "this is a fault of the console, and its log has the details; please try again"
        return _answer(request, 500, said)


def _methods_at(app: FastAPI, request: Request) -> list[str]:
    """What an address can be asked with."""
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in app.routes
        )
    ]


def _place(error: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in error["loc"][1:]) or "body"


def _told_to_programs(error: Mapping[str, Any]) -> str:
    given = error.get("input")
    named = f" {repr(given)[:60]} is invalid" if isinstance(given, str | int | float) else ""
    return f"{_place(error)}{named}: {what_is_wrong(error)}"


def _answer(request: Request, status: int, detail: str, headers: Any = None) -> Response:
    title = _TITLES.get(status, "Something went wrong")
    if request.url.path.startswith("/api/") or request.url.path == "/metrics":
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return JSONResponse(body, status, {**(headers or {}), **extra}, PROBLEM)
    if "application/json" in request.headers.get("Accept", ""):
        return JSONResponse({"detail": detail}, status)
    if status == 401 and request.method == "GET":
        path = request.url.path
        onwards = f"?next={quote(path)}" if path != "/" and path != "/sign-in" else ""
        if path != "/sign-in":
            return see_other(f"/sign-in{onwards}")
    detail = _UNSAID.get(detail, detail)
    context: dict[str, Any] = {"status": status, "detail": detail, "title": title}
    if request.method == "GET" and status == 422:
        context |= {"title": "This address is invalid", "without": request.url.path}
    if request.method == "POST" and (sent_from := _FORM_ON.match(request.url.path)):
        context["back"] = sent_from[1]
        if status == 401:
            context["detail"] = "your session has ended; sign in to return to the page"
    visitor = getattr(request.state, "visitor", None)
    if isinstance(visitor, Visitor):
        context |= {"me": visitor.moderator, "csrf": visitor.csrf}
    return templates.TemplateResponse(request, "problem.html", context, status_code=status)
