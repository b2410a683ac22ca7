"""A platform on loopback that tests can make slow, rude or broken."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Platform:
    """Serves `posts` (id -> post without id) under /posts?ids=… and `images` under /images/NAME.

    Attributes:
        delay_seconds: pause before every answer about posts.
        meddle: given the ids asked for, an answer to give instead, or None.
        asked: how often each id was asked for.
    """

    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    delay_seconds: float = 0.0
    meddle: Callable[[list[str]], Answer | None] = lambda ids: None
    asked: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                status, headers, body = platform.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A killed worker hangs up in the middle; that is what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.source = f"{self.url}/posts?ids={{ids}}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> Answer:
        """What the platform says to a GET."""
        parts = urlsplit(path)
        if parts.path.startswith("/images/"):
            content = self.images.get(parts.path.removeprefix("/images/"))
            return (404, {}, b"") if content is None else (200, {}, content)
        raw = parts.query.removeprefix("ids=")
        ids = [unquote(part) for part in raw.split(",")]
        assert parse_qs(parts.query), path
        self.asked.update(ids)
        time.sleep(self.delay_seconds)
        if meddled := self.meddle(ids):
            return meddled
        found = [{"id": i, **self._absolute(self.posts[i])} for i in ids if i in self.posts]
        return 200, {"Content-Type": "application/json"}, json.dumps({"posts": found}).encode()

    def _absolute(self, post: Mapping[str, Any]) -> dict[str, Any]:
        images = [f"{self.url}/images/{name}" for name in post.get("images", ())]
        return {**post, "images": images}
