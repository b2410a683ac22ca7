"""An OpenTelemetry collector on loopback: takes OTLP/HTTP, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One span as it arrived; ids are hexadecimal."""

    process: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int


@dataclass
class Collector:
    """Takes POSTs to /v1/traces.

    Attributes:
        before: is called before each answer; it may block.
        spans: all that arrived.
        raw: the requests' bodies.
    """

    before: Callable[[], None] = lambda: None
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.before()
                collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever sent it gave up; that is what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: bytes) -> None:
        """Keep the spans of one request."""
        request = ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        for each in request.resource_spans:
            resource = {a.key: a.value.string_value for a in each.resource.attributes}
            for scope in each.scope_spans:
                self.spans += [_seen(span, resource["service.name"]) for span in scope.spans]

    def named(self, name: str) -> list[Seen]:
        """The spans of this name."""
        return [span for span in list(self.spans) if span.name == name]


def _seen(span: Any, process: str) -> Seen:
    return Seen(
        process=process,
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes={a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
        failed=span.status.code == 2,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )
