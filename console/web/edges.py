"""What holds for every answer: security headers, a bound on what is sent here, the time it took."""

from __future__ import annotations

import time
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 2**20
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class _TooLarge(Exception):
    """The body is longer than it may be."""


def _kept(scope: Scope) -> str:
    """How long an answer may be kept. Pages name static files by their content's digest."""
    if not scope["path"].startswith("/static/"):
        return "no-store"
    return "max-age=31536000, immutable" if b"v=" in scope["query_string"] else "no-cache"


class Edges:
    """Middleware around everything, static files and errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        got = 0

        async def bounded() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > MAX_BODY_BYTES:
                raise _TooLarge
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", _kept(scope))
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
                took = (time.perf_counter() - began) * 1000
                headers["Server-Timing"] = f"console;dur={took:.1f}"
            await send(message)

        try:
            await self._app(scope, bounded, with_headers)
        except _TooLarge:
            answer = PlainTextResponse(
                f"the request is too large: at most {MAX_BODY_BYTES} bytes\n", 413
            )
            await answer(scope, receive, with_headers)
