"""A receiver of callbacks on loopback that tests can make slow, rude or absent."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

Answer = int | tuple[int, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One callback as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int  # of the sender: the same for two requests on one connection

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def post_id(self) -> str:
        return str(self.told["data"]["post_id"])


@dataclass
class Receiver:
    """Takes POSTs; a request whose signature is wrong is noted in `refused` and answered 401.

    Attributes:
        answer: given a request, the status, or status and headers; it may block.
        accepted: requests that were answered with 2xx, in order.
        requests: all of them.
    """

    answer: Callable[[Request], Answer] = lambda request: 204
    secret: str = SECRET
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    accepted: list[Request] = field(default_factory=list)
    refused: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size)
                if len(body) < size:
                    self.close_connection = True  # its sender was killed in the middle
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, body, self.client_address[1])
                answer = receiver.take(request)
                status, more = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                """Nobody asks that, unless a redirect was followed."""
                receiver.requests.append(Request(self.path, {}, b"", self.client_address[1]))
                self.send_error(405)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A killed sender hangs up in the middle; that is what is tested."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callbacks"

    def take(self, request: Request) -> Answer:
        """What the receiver says, after it has looked at the signature."""
        self.requests.append(request)
        try:
            Webhook(self.secret).verify(request.body, dict(request.headers))
        except Exception:
            self.refused.append(request)
            return 401
        answer = self.answer(request)
        status = answer[0] if isinstance(answer, tuple) else answer
        if 200 <= status < 300:
            self.accepted.append(request)
        return answer

    @property
    def times_accepted(self) -> Counter[str]:
        """How often each id was accepted."""
        return Counter(request.id for request in list(self.accepted))
