"""What each peer does with a batch of ids: fetch, classify, write. The queueing is the peer's own.

The model, its engine and its preparation are Deadpan's. One request asks for all posts of a batch;
pictures are downloaded and decoded on a few threads, as anybody would; a batch is one transaction,
as durable as Deadpan's. Left out, in the peers' favour: checks of addresses, leases, policy, flags,
evidence.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from benchmarks.programs.model import load_classifier
from models.posts.prediction import ImageProblem, Prediction, PreparedPost

DATABASE = "BENCH_DATABASE"
SOURCE = "BENCH_SOURCE"

_TABLE = """CREATE TABLE IF NOT EXISTS verdicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, post_id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    negative REAL, neutral REAL, positive REAL, sarcasm REAL, alone TEXT, created_at REAL)"""
_INSERT = """INSERT INTO verdicts
    (post_id, model, negative, neutral, positive, sarcasm, alone, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (post_id) DO NOTHING"""


class Database:
    """Verdicts in SQLite; a connection for each thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()

    def write(self, model: str, verdicts: Iterable[tuple[str, Prediction]]) -> None:
        """Write verdicts in one transaction."""
        rows = []
        for post_id, prediction in verdicts:
            sentiment = prediction.fused.sentiment
            alone = {
                name: asdict(scores) if scores else None
                for name, scores in (
                    ("text", prediction.text_alone),
                    ("image", prediction.image_alone),
                )
            }
            scores = (*sentiment, prediction.fused.sarcasm)
            rows.append((post_id, model, *scores, json.dumps(alone), time.time()))
        with self._connection() as connection:
            connection.executemany(_INSERT, rows)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = sqlite3.connect(self._path, timeout=30)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_TABLE)
        return connection


class Platform:
    """Fetches posts from the sample platform; safe to use from several threads."""

    def __init__(self, source: str, *, connections: int = 8) -> None:
        self._source = source
        self._session = requests.Session()
        self._session.trust_env = False
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
        self._session.mount("http://", adapter)

    def posts(self, post_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The posts of these ids, by one request."""
        url = self._source.replace("{ids}", ",".join(quote(post_id) for post_id in post_ids))
        response = self._session.get(url, timeout=10)
        response.raise_for_status()
        posts: list[dict[str, Any]] = response.json()["posts"]
        return posts

    def image(self, url: str) -> bytes | ImageProblem:
        """A picture file, or why there is none."""
        response = self._session.get(url, timeout=10)
        if response.status_code != 200:
            return ImageProblem(f"the platform answered {response.status_code}")
        return response.content


class Judge:
    """Model, platform and database of one peer process; warm when it is built.

    Args:
        threads: for downloading and decoding.
    """

    def __init__(self, *, threads: int = 4) -> None:
        self._classifier = load_classifier()
        self._platform = Platform(os.environ[SOURCE])
        self._database = Database(os.environ[DATABASE])
        self._database.write(self._classifier.info.version, [])
        self._threads = ThreadPoolExecutor(threads)

    def __call__(self, post_ids: Sequence[str]) -> None:
        """Judge a batch, from ids to committed verdicts."""
        posts = self._platform.posts(post_ids)
        prepared = list(self._threads.map(self._prepared, posts))
        predictions = self._classifier.predict(prepared)
        verdicts = zip((post["id"] for post in posts), predictions, strict=True)
        self._database.write(self._classifier.info.version, verdicts)

    def _prepared(self, post: dict[str, Any]) -> PreparedPost:
        images = [self._platform.image(url) for url in post["images"]]
        return self._classifier.prepare(post["text"], images)
