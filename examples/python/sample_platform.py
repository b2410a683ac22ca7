"""A small platform that has its posts judged by Deadpan. Standard library and `redis`.

    python examples/python/sample_platform.py 8080
    python examples/python/sample_platform.py push-unanswered 3600

People post to it; Deadpan reads posts from it and tells it about verdicts and decisions:

    POST   /posts        {"text": "…", "images": ["https://…"], "author": "…", "priority": "high"?}
    PUT    /posts/ID     the same, edited
    DELETE /posts/ID
    GET    /posts/ID     the post, and what Deadpan said about it
    GET    /posts?ids=1,2,3    for Deadpan, with a bearer token
    POST   /deadpan            for Deadpan's callbacks, signed

Its settings are environment variables, the same that Deadpan reads: DEADPAN_REDIS_URL,
DEADPAN_SOURCE_TOKEN, DEADPAN_CALLBACK_SECRET. PLATFORM_DATABASE is its SQLite file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

REDIS_URL = os.environ.get("DEADPAN_REDIS_URL", "redis://127.0.0.1:6380/0")
SOURCE_TOKEN = os.environ.get("DEADPAN_SOURCE_TOKEN", "")
CALLBACK_SECRET = os.environ.get("DEADPAN_CALLBACK_SECRET", "")
DATABASE = os.environ.get("PLATFORM_DATABASE", "platform.db")

LISTS = {"high": "deadpan:posts:high", "normal": "deadpan:posts", "low": "deadpan:posts:low"}

TABLES = """
CREATE TABLE IF NOT EXISTS posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, images TEXT NOT NULL, author TEXT,
    changed_at REAL NOT NULL, verdict_id INTEGER, label TEXT, flagged INTEGER
);
CREATE TABLE IF NOT EXISTS to_push (
    number INTEGER PRIMARY KEY AUTOINCREMENT, post_id TEXT NOT NULL, list TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS callbacks (webhook_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, action TEXT NOT NULL, undoes INTEGER
);
"""


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """One transaction, committed at the end of the block or not at all."""
    with closing(sqlite3.connect(DATABASE, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        with connection:
            yield connection


# -- pushing ids ---------------------------------------------------------------------------------


# [snippet: push]
def push_soon(transaction: sqlite3.Connection, post_id: int, priority: str = "normal") -> None:
    """Record an id in the transaction that changes its post: both are saved, or neither is."""
    row = (str(post_id), LISTS[priority])
    transaction.execute("INSERT INTO to_push (post_id, list) VALUES (?, ?)", row)


def push_noted(client: redis.Redis) -> int:
    """Push the recorded ids, and forget them only once Redis has them.

    If killed in between, an id is pushed twice. That does no harm: a post is judged once.
    """
    with database() as connection:
        noted = connection.execute("SELECT * FROM to_push ORDER BY number LIMIT 1000").fetchall()
    for name in sorted({row["list"] for row in noted}):
        client.rpush(name, *(row["post_id"] for row in noted if row["list"] == name))
    with database() as connection:
        numbers = [(row["number"],) for row in noted]
        connection.executemany("DELETE FROM to_push WHERE number = ?", numbers)
    return len(noted)


# [end]


def keep_pushing(ended: threading.Event) -> None:
    """Push as long as the platform runs; while Redis is down, ids wait in the table."""
    client = redis.Redis.from_url(REDIS_URL, socket_timeout=10)
    while not ended.is_set():
        try:
            if push_noted(client):
                continue
        except redis.RedisError as error:
            print(f"Redis does not accept ids: {error}", file=sys.stderr, flush=True)
        ended.wait(0.1)


# [snippet: unanswered]
def push_unanswered(older_than_seconds: float) -> int:
    """Push again posts that have no verdict yet: run it every few minutes, and after a disaster.

    Deadpan loses no id that Redis accepted; this is for a Redis that lost its data.
    """
    with database() as connection:
        rows = connection.execute(
            "SELECT id FROM posts WHERE verdict_id IS NULL AND changed_at < ?",
            (time.time() - older_than_seconds,),
        ).fetchall()
        for row in rows:
            push_soon(connection, row["id"], "low")
    return len(rows)


# [end]


# -- the post source -----------------------------------------------------------------------------


# [snippet: source]
def source_answer(ids: list[str]) -> dict[str, Any]:
    """The answer to Deadpan for a chunk of ids. A post that is left out is gone."""
    marks = ",".join("?" * len(ids))
    with database() as connection:
        rows = connection.execute(f"SELECT * FROM posts WHERE id IN ({marks})", ids)  # noqa: S608
        return {
            "posts": [
                {
                    "id": str(row["id"]),
                    "text": row["text"],
                    "images": json.loads(row["images"]),
                    "author": row["author"],
                }
                for row in rows
            ]
        }


# [end]


# -- callbacks -----------------------------------------------------------------------------------


# [snippet: verify]
def is_from_deadpan(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Whether a callback was signed with our secret, less than five minutes ago."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(
        hmac.compare_digest(given.encode(), f"v1,{wanted}".encode())
        for given in headers.get("webhook-signature", "").split()
    )


# [end]


# [snippet: take]
def take(webhook_id: str, event: Mapping[str, Any]) -> None:
    """Apply an event, once: its id and its effect are saved in one transaction."""
    with database() as connection:
        new = connection.execute("INSERT OR IGNORE INTO callbacks VALUES (?)", (webhook_id,))
        if new.rowcount == 0:
            return  # handled before; our answer got lost
        data = event["data"]
        if event["type"] == "verdict.created":
            # A parked event may arrive after a later one: the greater id wins.
            connection.execute(
                "UPDATE posts SET verdict_id = :verdict_id, label = :label, flagged = :flagged "
                "WHERE id = :post_id AND (verdict_id IS NULL OR verdict_id < :verdict_id)",
                {**data, "flagged": data["flag"] is not None},
            )
        elif event["type"] == "decision.created":
            connection.execute(
                "INSERT INTO decisions VALUES (:decision_id, :post_id, :action, :undoes)",
                {"undoes": None, **data},
            )
        # Unknown types are answered 2xx too: otherwise they would be retried for a day.


# [end]


def shown(row: sqlite3.Row, connection: sqlite3.Connection) -> dict[str, Any]:
    """A post as people see it: removed if the newest decision that stands says so."""
    decision = connection.execute(
        "SELECT action FROM decisions WHERE post_id = ? AND action IN ('approve', 'remove') AND "
        "id NOT IN (SELECT undoes FROM decisions WHERE undoes IS NOT NULL) ORDER BY id DESC",
        (row["id"],),
    ).fetchone()
    post = {name: row[name] for name in ("id", "author", "verdict_id", "label")}
    post |= {"flagged": bool(row["flagged"]), "decision": decision and decision["action"]}
    return post if post["decision"] == "remove" else post | {"text": row["text"]}


# -- HTTP ----------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if where.path == "/posts":
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {SOURCE_TOKEN}".encode()):
                return self.answer(401, {"error": "the token is wrong"})
            ids = parse_qs(where.query)["ids"][0].split(",")
            return self.answer(200, source_answer(ids))
        with database() as connection:
            row = self.row(connection)
            if row is None:
                return self.answer(404, {"error": "no such post"})
            return self.answer(200, shown(row, connection))

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/deadpan":
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not is_from_deadpan(body, headers, CALLBACK_SECRET):
                return self.answer(401, {"error": "the signature is wrong or old"})
            take(headers["webhook-id"], json.loads(body))
            return self.answer(200, {})
        if self.path != "/posts":
            return self.answer(404, {"error": "try /posts"})
        post = json.loads(body)
        with database() as connection:
            made = connection.execute(
                "INSERT INTO posts (text, images, author, changed_at) VALUES (?, ?, ?, ?)",
                (post["text"], json.dumps(post.get("images", [])), post.get("author"), time.time()),
            )
            assert made.lastrowid is not None
            push_soon(connection, made.lastrowid, post.get("priority", "normal"))
        return self.answer(201, {"id": made.lastrowid})

    def do_PUT(self) -> None:
        post = json.loads(self.body())
        with database() as connection:
            row = self.row(connection)
            if row is None:
                return self.answer(404, {"error": "no such post"})
            # The old verdict stays until the new one comes: its id is what "newer" is told by.
            connection.execute(
                "UPDATE posts SET text = ?, images = ?, changed_at = ? WHERE id = ?",
                (post["text"], json.dumps(post.get("images", [])), time.time(), row["id"]),
            )
            push_soon(connection, row["id"])
        return self.answer(200, {"id": row["id"]})

    def do_DELETE(self) -> None:
        with database() as connection:
            row = self.row(connection)
            if row is None:
                return self.answer(404, {"error": "no such post"})
            connection.execute("DELETE FROM posts WHERE id = ?", (row["id"],))
            push_soon(connection, row["id"])  # so that Deadpan notes that it is gone
        return self.answer(200, {"id": row["id"]})

    def row(self, connection: sqlite3.Connection) -> sqlite3.Row | None:
        """The post that the path names."""
        post_id = self.path.removeprefix("/posts/")
        row = connection.execute("SELECT * FROM posts WHERE id = ?", (post_id,)).fetchone()
        assert row is None or isinstance(row, sqlite3.Row)
        return row

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, told: Mapping[str, Any]) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def main() -> None:
    with database() as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; {TABLES}")
    if sys.argv[1:2] == ["push-unanswered"]:
        print(f"{push_unanswered(float(sys.argv[2]))} posts are pushed again")
        return
    if not SOURCE_TOKEN or not CALLBACK_SECRET:
        sys.exit("set DEADPAN_SOURCE_TOKEN and DEADPAN_CALLBACK_SECRET, as Deadpan has them")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    ended = threading.Event()
    threading.Thread(target=keep_pushing, args=(ended,), daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"the platform listens on http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        ended.set()


if __name__ == "__main__":
    main()
