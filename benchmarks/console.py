"""How long the console takes over a large database, page by page, and with many moderators at once.

    python -m benchmarks.console postgresql://user:password@host/an_empty_database

Fills the database, starts a console on loopback, reads what the console itself says it took
(`Server-Timing`), then lets moderators decide flag after flag for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from sqlalchemy import Engine, text

from console.access import COOKIE, csrf_token
from storage import moderators, sessions
from storage.database import connect, transaction
from storage.schema import migrate

_PAGES = {
    "queue": "/",
    "queue, one queue": "/?queue=sarcasm",
    "queue, rare rule": "/?rule=rare",
    "queue, author": "/?author=author77",
    "queue, no such score": "/?negative=0.9999",
    "search": "/?post=p5000",
    "flag": "/flags/5000",
    "counts": "/counts",
    "history": "/history",
    "insight": "/insight?days=30",
    "audit": "/audit",
}
_NUMBERS = {
    "postgresql": "SELECT n FROM generate_series(1, :n) AS n",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :n) "
    "SELECT n FROM s",
}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("database", help="URL of an empty database")
    parser.add_argument("--verdicts", type=int, default=10_000_000)
    parser.add_argument("--flags", type=int, default=100_000)
    parser.add_argument("--moderators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    database = connect(asked.database)
    migrate(database)
    began = time.monotonic()
    _fill(database, asked.verdicts, asked.flags)
    sys.stderr.write(f"filled in {time.monotonic() - began:.0f} s\n")
    with tempfile.TemporaryDirectory() as folder:
        child = _console(asked.database, folder)
        try:
            assert child.stdout
            found = re.search(r"http://[\d.:]+", child.stdout.readline())
            assert found
            result: dict[str, Any] = {
                "verdicts": asked.verdicts,
                "open flags": asked.flags,
                "server milliseconds": _pages(database, found[0]),
                "decide and next": _load(database, found[0], asked.moderators, asked.seconds),
            }
        finally:
            child.terminate()
            child.wait(timeout=30)
    database.dispose()
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _fill(database: Engine, verdicts: int, flags: int) -> None:
    kind = database.dialect.name
    numbers = _NUMBERS[kind]
    now = "now()" if kind == "postgresql" else "datetime('now')"
    plain = (
        "INSERT INTO verdicts (post_id, author, content_hash, model_version, calibration_version,"
        " policy_version, negative, neutral, positive, sarcasm, degraded, evidence, timings,"
        f" created_at) SELECT 'p' || n, 'author' || (n % 5000), 'c', 'm', 'c', 'p',"
        f" (n % 997) / 1000.0, 0.1, 0.1, (n % 991) / 1000.0, '[]', '[]', '{{}}', {now}"
        f" FROM ({numbers}) AS s"
    )
    reasons = (
        """CASE WHEN n % 9973 = 0 THEN '[{"rule": "rare", "conditions": []}]'"""
        """ ELSE '[{"rule": "negative", "conditions": []}]' END"""
    )
    opened = {
        "postgresql": "now() - n * interval '2 seconds'",
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || (2 * n) || ' seconds')",
    }[kind]
    cast = f"CAST({reasons} AS jsonb)" if kind == "postgresql" else reasons
    waiting = (
        "INSERT INTO flags (post_id, verdict_id, state, queue, priority, reasons, row_version,"
        " opened_at, author, negative, sarcasm) SELECT 'p' || n, n, 'open',"
        " CASE n % 4 WHEN 0 THEN 'sarcasm' WHEN 1 THEN 'degraded' ELSE 'negative' END,"
        f" (n % 3) * 20, {cast}, 1, {opened}, 'author' || (n % 5000), (n % 997) / 1000.0,"
        f" (n % 991) / 1000.0 FROM ({numbers}) AS s"
    )
    with transaction(database) as connection:
        connection.execute(text(plain), {"n": verdicts})
        connection.execute(text(waiting), {"n": flags})
        connection.execute(
            text("INSERT INTO tallies VALUES ('verdicts', 1, :v), ('flags', 1, :f)"),
            {"v": verdicts, "f": flags},
        )
    with transaction(database) as connection:
        connection.execute(text("ANALYZE"))


def _console(url: str, folder: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")}
    settings = {"DEADPAN_DATABASE_URL": url, "DEADPAN_EVIDENCE_URL": folder}
    command = [sys.executable, "-m", "deadpan", "console", "--port", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kept | settings)


def _person(database: Engine, name: str) -> requests.Session:
    with transaction(database) as connection:
        who = moderators.add(connection, name, "lead", actor="benchmark")
        token = sessions.start(connection, who, client="benchmark", address=None)
    session = requests.Session()
    session.cookies.set(COOKIE, token)
    session.headers["X-CSRF-Token"] = csrf_token(token)
    return session


def _pages(database: Engine, url: str) -> dict[str, dict[str, float]]:
    person = _person(database, "reader")
    took: dict[str, dict[str, float]] = {}
    for name, path in _PAGES.items():
        times = []
        for _ in range(20):
            answer = person.get(url + path, timeout=60)
            answer.raise_for_status()
            times.append(float(answer.headers["Server-Timing"].partition("dur=")[2]))
        took[name] = {"first": times[0], **_spread(times)}
    return took


def _load(database: Engine, url: str, number: int, seconds: float) -> dict[str, float]:
    people = [_person(database, f"m{each}") for each in range(number)]
    deadline = time.monotonic() + seconds

    def shift(person: requests.Session) -> list[float]:
        times = []
        answer = person.post(f"{url}/next", timeout=60)
        while time.monotonic() < deadline and "/flags/" in answer.url:
            path = answer.url.partition("?")[0] + "/decide"
            began = time.perf_counter()
            fields = {"action": "remove", "reason_code": "hate"}
            answer = person.post(path, data=fields, timeout=60)
            times.append((time.perf_counter() - began) * 1000)
        return times

    with ThreadPoolExecutor(number) as pool:
        times = [each for some in pool.map(shift, people) for each in some]
    return {"moderators": number, "decisions": len(times), **_spread(times)}


def _spread(times: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=20)
    return {
        "median": round(statistics.median(times), 1),
        "p95": round(cuts[18], 1),
        "most": round(max(times), 1),
    }


if __name__ == "__main__":
    main()
