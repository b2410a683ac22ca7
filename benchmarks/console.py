"""How long the console takes over a large database, page by page, and with many moderators at once.

    python -m benchmarks.console postgresql://user:password@host/an_empty_database

Fills the database, starts a console on loopback, reads what the console itself says it took
(`Server-Timing`), then lets moderators decide flag after flag for a while. `--filled` measures a
database again that was filled before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from sqlalchemy import Engine

from benchmarks.console_fill import Size, fill, put_evidence
from console.web.access import COOKIE, csrf_token
from storage.base.database import connect, transaction
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from storage.people import moderators, sessions, tokens
from storage.people.tokens import SCOPES

_PAGES = {
    "queue": "/",
    "queue, one queue": "/?queue=sarcasm",
    "queue, rare rule": "/?rule=rare",
    "queue, frequent rule": "/?rule=negative",
    "queue, words that many have": "/?words=people+write",
    "queue, words that few have": "/?words=word5001+post",
    "queue, words that none has": "/?words=nowhere",
    "queue, decided, words that none has": "/?state=decided&words=nowhere",
    "queue, language": "/?language=de",
    "queue, rare language": "/?language=is",
    "queue, rare language, one queue": "/?language=is&queue=degraded",
    "queue, decided, rare language": "/?state=decided&language=is",
    "queue, no such language": "/?language=fr",
    "queue, author": "/?author=author77",
    "queue, no such score": "/?negative=0.9999",
    "queue, nothing so old": "/?age=3d&queue=none",
    "queue, decided": "/?state=decided",
    "queue, decided, no such score": "/?state=decided&negative=0.9999",
    "queue, decided, rare rule": "/?state=decided&rule=rare",
    "queue, decided, frequent rule": "/?state=decided&rule=negative",
    "search": "/?post=p5000",
    "flag": "/flags/5000",
    "counts": "/counts",
    "history": "/history",
    "insight": "/insight?days=30",
    "audit": "/audit",
    "API, flags": "/api/v1/flags",
    "API, words that none has": "/api/v1/flags?words=nowhere",
    "API, language": "/api/v1/flags?language=is",
    "API, verdict": "/api/v1/verdicts/p5000",
}
_TIMES = 20
#: Counts are kept for two seconds and insight for a minute; these say what computing them takes.
_KEPT = {"counts": 2.1, "insight": 61.0}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("database", help="URL of an empty database")
    parser.add_argument("--verdicts", type=int, default=10_000_000)
    parser.add_argument("--flags", type=int, default=100_000)
    parser.add_argument("--decided", type=int, default=500_000)
    parser.add_argument("--filled", action="store_true", help="measure only")
    parser.add_argument("--moderators", type=int, default=50, help="0 leaves the second part out")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--think",
        type=float,
        default=0.0,
        help="seconds that a moderator looks at a flag, give or take a half; 0 asks for the limit",
    )
    asked = parser.parse_args()
    database = connect(asked.database)
    migrate(database)
    with tempfile.TemporaryDirectory() as folder:
        evidence = put_evidence(EvidenceStore(folder))
        if not asked.filled:
            began = time.monotonic()
            fill(database, Size(asked.verdicts, asked.flags, asked.decided), evidence)
            sys.stderr.write(f"filled in {time.monotonic() - began:.0f} s\n")
        child = _console(asked.database, folder)
        try:
            assert child.stdout
            found = re.search(r"http://[\d.:]+", child.stdout.readline())
            assert found
            result: dict[str, Any] = {
                "verdicts": asked.verdicts,
                "open flags": asked.flags,
                "decided flags": asked.decided,
                "server milliseconds": _pages(database, found[0]),
            }
            if asked.moderators:
                result["decide and next"] = _load(database, found[0], asked)
        finally:
            child.terminate()
            child.wait(timeout=30)
    database.dispose()
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _console(url: str, folder: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")}
    settings = {"DEADPAN_DATABASE_URL": url, "DEADPAN_EVIDENCE_URL": folder}
    command = [sys.executable, "-m", "deadpan", "console", "--port", "0"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=kept | settings, encoding="utf-8"
    )


def _person(database: Engine, name: str) -> requests.Session:
    with transaction(database) as connection:
        who = moderators.add(connection, name, "lead", actor="benchmark")
        token = sessions.start(connection, who, client="benchmark", address=None)
        made = tokens.make(connection, who, name, SCOPES, actor="benchmark")
    session = requests.Session()
    session.cookies.set(COOKIE, token)
    session.headers["X-CSRF-Token"] = csrf_token(token)
    session.headers["Authorization"] = f"Bearer {made}"
    return session


def _pages(database: Engine, url: str) -> dict[str, dict[str, float]]:
    person = _person(database, f"reader-{secrets.token_hex(4)}")
    took: dict[str, dict[str, float]] = {}
    for name, path in _PAGES.items():
        took[name] = _spread([_took(person, url + path) for _ in range(_TIMES)])
    for name, seconds in _KEPT.items():
        time.sleep(seconds)
        took[f"{name}, anew"] = {"once": _took(person, url + _PAGES[name])}
    return took


def _took(person: requests.Session, address: str) -> float:
    answer = person.get(address, timeout=60)
    answer.raise_for_status()
    return float(answer.headers["Server-Timing"].partition("dur=")[2])


def _load(database: Engine, url: str, asked: argparse.Namespace) -> dict[str, float]:
    number = asked.moderators
    people = [_person(database, f"m{each}-{secrets.token_hex(4)}") for each in range(number)]
    deadline = time.monotonic() + asked.seconds
    chance = random.Random(6)  # noqa: S311 - when somebody presses a key

    def shift(person: requests.Session) -> list[float]:
        times = []
        answer = person.post(f"{url}/next", timeout=60)
        while time.monotonic() < deadline and answer.ok and answer.url != f"{url}/":
            path = answer.url.partition("?")[0]
            path += "/vote" if "/reviews/" in path else "/decide"
            time.sleep(asked.think * chance.uniform(0.5, 1.5))
            began = time.perf_counter()
            fields = {"action": "remove", "reason_code": "hate"}
            answer = person.post(path, data=fields, timeout=60)
            times.append((time.perf_counter() - began) * 1000)
        return times

    with ThreadPoolExecutor(number) as pool:
        times = [each for some in pool.map(shift, people) for each in some]
    return {
        "moderators": number,
        "seconds of thought": asked.think,
        "decisions": len(times),
        **_spread(times),
    }


def _spread(times: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=20)
    return {
        "median": round(statistics.median(times), 1),
        "p95": round(cuts[18], 1),
        "most": round(max(times), 1),
    }


if __name__ == "__main__":
    main()
