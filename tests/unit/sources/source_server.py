"""A small HTTP server on loopback that answers what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

LOOPBACK = (ip_network("127.0.0.0/8"),)
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100


@dataclass
class Seen:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    port: int  # of the client: the same for two requests on one connection


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.here.seen.append(Seen(self.path, headers, self.client_address[1]))
        with contextlib.suppress(OSError):
            self.server.here.answer(self)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        self.reply(status, json.dumps(value).encode(), Content_Type="application/json")

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what these tests are about."""


@dataclass
class Server:
    port: int
    answer: Callable[[Handler], None] = lambda handler: handler.reply(404)
    seen: list[Seen] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [seen.path for seen in self.seen]


@contextlib.contextmanager
def serving(wrap: Callable[[socket.socket], socket.socket] | None = None) -> Iterator[Server]:
    web = QuietServer(("127.0.0.1", 0), Handler)
    if wrap:
        web.socket = wrap(web.socket)
    server = Server(web.server_port)
    web.here = server  # type: ignore[attr-defined]
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        web.shutdown()
        thread.join()
        web.server_close()


def post(post_id: object, **fields: object) -> dict[str, object]:
    return {"id": post_id, "text": f"text of {post_id}", **fields}


def asked_ids(handler: Handler) -> list[str]:
    """The ids of a request for /posts?ids=1,2."""
    return [each for each in handler.path.partition("ids=")[2].split(",") if each]
