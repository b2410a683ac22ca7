"""The sample platform of `make compose-test`: runs in a container of Deadpan's own image.

`python platform.py ids` prints the ids of its posts, one a line; without a word it serves them.
The posts are the demo's again and again, each with its number in the text, so that none is the same
as another. Answers take a second, as they do from a platform that is far away, which leaves time to
kill something in the middle. It takes callbacks too, and counts those that are signed rightly.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import deadpan.demo
from deadpan.demo.posts import read_posts

PORT = 8080
POSTS = int(os.environ.get("PLATFORM_POSTS", "500"))
DELAY_SECONDS = float(os.environ.get("PLATFORM_DELAY_SECONDS", "1"))
IDS = [f"compose-{number:04}" for number in range(POSTS)]


class Platform(ThreadingHTTPServer):
    """Posts by id, their pictures, and what callbacks told."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        sample = list(read_posts(Path(deadpan.demo.__file__).parent / "posts.jsonl").posts.values())
        self.images = list(dict.fromkeys(image for post in sample for image in post.images))
        numbers = {image: number for number, image in enumerate(self.images)}
        self.posts = {
            post_id: {
                "id": post_id,
                "text": f"{sample[number % len(sample)].text} ({number})",
                "images": [
                    f"http://platform:{PORT}/images/{numbers[image]}"
                    for image in sample[number % len(sample)].images
                ],
            }
            for number, post_id in enumerate(IDS)
        }
        secret = os.environ["DEADPAN_CALLBACK_SECRET"].removeprefix("whsec_")
        self.key = base64.b64decode(secret)
        self.lock = threading.Lock()
        self.told: dict[str, str] = {}  # post id by webhook id
        self.tries = self.refused = 0
        super().__init__(("0.0.0.0", PORT), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Platform
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/posts":
            time.sleep(DELAY_SECONDS)
            ids = [unquote(part) for part in address.query.removeprefix("ids=").split(",")]
            self.answer(200, {"posts": [self.server.posts[i] for i in ids if i in IDS]})
        elif address.path.startswith("/images/"):
            image = self.server.images[int(address.path.removeprefix("/images/"))]
            if image.is_file():  # the demo has a post whose picture is missing
                self.send(200, image.read_bytes(), "application/octet-stream")
            else:
                self.answer(404, {})
        elif address.path == "/callbacks":
            with self.server.lock:
                posts = sorted(self.server.told.values())
                tries, refused = self.server.tries, self.server.refused
            self.answer(200, {"posts": posts, "tries": tries, "refused": refused})
        else:
            self.answer(200, {"serves": len(IDS)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        digest = hmac.new(self.server.key, signed + body, hashlib.sha256).digest()
        right = f"v1,{base64.b64encode(digest).decode()}" in self.headers["webhook-signature"]
        with self.server.lock:
            self.server.tries += 1
            if right:
                told: dict[str, Any] = json.loads(body)
                self.server.told[self.headers["webhook-id"]] = told["data"]["post_id"]
            else:
                self.server.refused += 1
        self.answer(200 if right else 401, {})

    def answer(self, status: int, value: object) -> None:
        self.send(status, json.dumps(value).encode(), "application/json")

    def send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


if __name__ == "__main__":
    if sys.argv[1:] == ["ids"]:
        sys.stdout.write("\n".join(IDS) + "\n")
    else:
        Platform().serve_forever()
