"""/healthz, /readyz and /metrics of a worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deadpan.errors import ConfigurationError

Page = Callable[[], tuple[int, Mapping[str, Any]]]
"""Gives an HTTP status and what to say as JSON."""


class HealthServer:
    """A small HTTP server in a thread; port 0 leaves it off.

    Args:
        not_ready: why the worker cannot do its job, or None when it can.
        pages: more paths, and what they say.
    """

    def __init__(
        self,
        host: str,
        port: int,
        not_ready: Callable[[], str | None],
        *,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._pages = dict(pages or {})
        self._not_ready = not_ready
        if port == 0:
            return
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                "set DEADPAN_METRICS_PORT to a free port, or to 0 for none"
            ) from None
        self._server.daemon_threads = True

    def start(self) -> None:
        """Begin to answer."""
        if self._server:
            threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        not_ready, pages = self._not_ready, self._pages
        known = ["/healthz", "/readyz", *pages]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/healthz":
                    self._answer(200, json.dumps({"status": "alive"}))
                elif self.path == "/readyz":
                    why = not_ready()
                    body = {"ready": why is None, "why": why}
                    self._answer(503 if why else 200, json.dumps(body))
                elif self.path == "/metrics":
                    self._answer(200, generate_latest().decode(), CONTENT_TYPE_LATEST)
                elif self.path in pages:
                    status, told = pages[self.path]()
                    self._answer(status, json.dumps(told))
                else:
                    error = f"try {', '.join(known)} or /metrics"
                    self._answer(404, json.dumps({"error": error}))

            def _answer(self, code: int, body: str, kind: str = "application/json") -> None:
                content = body.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds; they are not events."""

        return Handler
