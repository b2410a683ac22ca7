"""The trace of a request: that which it brings, or one of its own."""

from __future__ import annotations

import re
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deadpan.core import spans, trace
from deadpan.core.trace import TraceContext

_UNSEEN: Final = re.compile(r"/(healthz|readyz|metrics|static/.*)")
"""Probes and files would be most of what is recorded, and tell nothing."""


class Traced:
    """Middleware: log lines within a request carry its `trace_id`, and it is a span where spans are
    on. A span names the route and not the path, in whose query people search."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or _UNSEEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        brought = trace.parse(Headers(scope=scope).get("traceparent"))
        method = scope["method"]
        # Not from whoever called: a browser's request is not part of the console's own thread.
        with spans.span(method, kind="server", parent=brought or trace.new()) as span:
            context = span.context or brought or trace.new()
            scope.setdefault("state", {})["trace"] = context
            scope["state"]["brought_trace"] = brought is not None

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", None)
                    told = {
                        "http.request.method": method,
                        "http.response.status_code": message["status"],
                    }
                    if route is not None:
                        told["http.route"] = route
                    span.named(f"{method} {route}" if route else method, told)
                    if message["status"] >= 500:
                        span.failed(str(message["status"]))
                await send(message)

            with structlog.contextvars.bound_contextvars(trace_id=context.trace_id):
                await self._app(scope, receive, noting)


def of_pushed(request: Request, posts: int) -> TraceContext | None:
    """The trace of posts that a request pushes: the request's, if it brought one or pushes one post
    alone. Of several, each gets its own; which of them a line is about could not be told."""
    if posts == 1 or request.state.brought_trace:
        context: TraceContext = request.state.trace
        return context
    return None
