"""/healthz, /readyz and /metrics of a worker, of housekeeping and of the autoscaler."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deadpan.core.errors import ConfigurationError

log = structlog.get_logger(__name__)

SILENT_SECONDS = 30.0
"""A client that sends nothing for this long is disconnected, and its thread is freed."""

Page = Callable[[], tuple[int, Mapping[str, Any]]]
"""Gives an HTTP status and a JSON body."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A probe that hangs up is not worth a log line; any other failure is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("health request failed unexpectedly")


class HealthServer:
    """A small HTTP server in a thread; port 0 leaves it off.

    Args:
        process: what answers here, beside its process id: a port may have been taken by another.
        not_ready: why the worker cannot do its job, or None when it can.
        pages: more paths, and what they say.
    """

    def __init__(
        self,
        host: str,
        port: int,
        not_ready: Callable[[], str | None],
        *,
        process: str,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._pages = dict(pages or {})
        self._not_ready = not_ready
        self._process = process
        if port == 0:
            return
        try:
            self._server = _Server((host, port), self._handler())
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                "set DEADPAN_METRICS_PORT to a free port, or to 0 for none"
            ) from None

    def start(self) -> None:
        """Begin to answer."""
        if self._server:
            self._thread = threading.Thread(
                target=self._server.serve_forever, name="health", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._server:
            if self._thread is not None:  # else it would be waited for without end
                self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        not_ready, pages = self._not_ready, self._pages
        known = ["/healthz", "/readyz", *pages]
        alive = {"status": "alive", "process": self._process, "pid": os.getpid()}

        class Handler(BaseHTTPRequestHandler):
            timeout = SILENT_SECONDS

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    self._answer(200, json.dumps(alive))
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
