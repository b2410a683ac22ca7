"""A sample platform: serves posts and their pictures over HTTP, the way a real one would."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from deadpan.demo.posts import Labels, SamplePost, read_posts


class SamplePlatform:
    """Serves the posts of a JSONL file from loopback while it is open.

    `GET /posts?ids=a,b` answers `{"posts": [post, …]}` without the posts it does not have;
    `GET /images/N` answers a picture that a post names. Labels and notes are never served.

    Args:
        posts_path: the file; see `deadpan.demo.posts` for what it may hold.

    Attributes:
        source: what to set `DEADPAN_SOURCE` to.
        post_ids: what to push: the ids in the order of the file, then those to push a second
            time, then those that are gone.
        notes: by post id, for whoever reads the demo's table; only where the file has them.
        labels: by post id; only where the file has them.

    Raises:
        DataError: the file is not valid; lists every problem with its line.
    """

    def __init__(self, posts_path: str | os.PathLike[str]) -> None:
        read = read_posts(Path(posts_path))
        self.post_ids: tuple[str, ...] = (*read.posts, *read.again, *read.gone)
        posts = read.posts.values()
        self.notes: dict[str, str] = {post.id: post.about for post in posts if post.about}
        self.labels: dict[str, Labels] = {post.id: post.labels for post in posts if post.labels}
        self._server = _Server(read.folder, read.posts)
        self.source = f"{self._server.base_url}/posts?ids={{ids}}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},  # seconds that close() may have to wait
            name="sample-platform",
            daemon=True,
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; leaves no thread and no socket. May be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, posts: dict[str, SamplePost]) -> None:
        self.folder = folder
        self.images: list[Path] = list(
            dict.fromkeys(image for post in posts.values() for image in post.images)
        )
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_port}"
        numbers = {image: number for number, image in enumerate(self.images)}
        self._posts = {
            post.id: {
                "id": post.id,
                "text": post.text,
                "images": [f"{self.base_url}/images/{numbers[image]}" for image in post.images],
                "author": post.author,
                "created_at": post.created_at,
                "language": post.language,
            }
            for post in posts.values()
        }

    def posts_of(self, post_ids: Iterable[str]) -> list[dict[str, Any]]:
        """The posts that are here, each once, in the order asked for."""
        return [
            self._posts[post_id] for post_id in dict.fromkeys(post_ids) if post_id in self._posts
        ]

    def image(self, number: str) -> tuple[bytes, str] | None:
        """A picture and its content type; None where there is none by that number."""
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        if int(number) >= len(self.images):
            return None
        path = self.images[int(number)]
        try:
            # The file may have become a link to somewhere else since it was checked.
            if not (path.is_file() and path.resolve().is_relative_to(self.folder)):
                return None
            content = path.read_bytes()
        except OSError:
            return None
        return content, mimetypes.guess_type(path.name, strict=False)[
            0
        ] or "application/octet-stream"

    def server_bind(self) -> None:
        # HTTPServer would look up the host's name, which can take seconds without a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        # ThreadingMixIn forgets its daemon threads; these are remembered, to be ended.
        thread = threading.Thread(
            target=self._serve_connection,
            args=(request, client_address),
            name="sample-platform-connection",
            daemon=True,
        )
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def _serve_connection(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def end_connections(self) -> None:
        """Hang up on clients that keep their connection open, and wait for the threads."""
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            with contextlib.suppress(OSError):  # the client or the thread was quicker
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that hung up is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one piece

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        before, is_image, number = address.path.partition("/images/")
        if address.path == "/posts":
            told = json.dumps({"posts": self.server.posts_of(_ids_in(address.query))})
            self._send(HTTPStatus.OK, told.encode(), "application/json")
        elif is_image and not before and (image := self.server.image(number)):
            self._send(HTTPStatus.OK, *image)
        else:
            told = json.dumps({"error": f"no {address.path} here"})
            self._send(HTTPStatus.NOT_FOUND, told.encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the demo's terminal belongs to its table."""


def _ids_in(query: str) -> list[str]:
    """The ids asked for. Split before decoding: an id may itself hold a comma or an ampersand."""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "ids":
            return [unquote(post_id) for post_id in value.split(",")]
    return []
