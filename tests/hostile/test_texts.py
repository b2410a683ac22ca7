"""Texts and ids that nobody means well with, from Redis to rows, logs, pages and terminals."""

from __future__ import annotations

import html
import io
import json
import logging
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, inspect, select

from console.app import create_app
from console.web.access import COOKIE
from console.web.state import Console
from deadpan.core import logs
from storage import tables
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from storage.people import moderators, sessions, tokens
from tasks.intake.intake import Intake
from tasks.intake.post_ids import id_problem
from tests.harness import deadpan, outcomes, wait_until, worker
from tests.hostile.texts import TEXTS
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey

SECRET = "k" * 48
TIMES: list[Any] = ["'; DROP TABLE flags; --", 10**400, -1, True, {"$gt": ""}, "9999-12-31T23:59"]


def hostile_ids() -> list[bytes]:
    """Each text as an id, without the comma that separates ids in a request."""
    ids = [text.replace(",", ";").encode("utf-8", "surrogatepass") for text in TEXTS.values()]
    return [raw for raw in ids if len(raw) < 5000]


def unsafe(text: str, kept: str = "\n") -> set[str]:
    """What must not reach a terminal or a line of a log as it is."""
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {c for c in text if unicodedata.category(c) in kinds and c not in kept}


def test_hostile_texts_and_ids_reach_neither_logs_nor_sql_nor_pages_unescaped(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "everything"\npriority = 7\n'
    )
    posts: dict[str, dict[str, Any]] = {}
    for number, (name, text) in enumerate(TEXTS.items()):
        short = text[:3000]
        posts[name] = {"text": text, "author": short, "created_at": TIMES[number % len(TIMES)]}
    for raw in hostile_ids():
        if id_problem(raw) is None:
            posts.setdefault(raw.decode(), {"text": "an odd name", "author": "a"})

    class Listing(Platform):
        def _absolute(self, post: Any) -> dict[str, Any]:
            return {**post, "images": [str(post["author"]), "http://" + str(post["author"])]}

    pushed = [*(name.encode() for name in TEXTS), *hostile_ids()]
    printed = {intake_id.decode() for intake_id in pushed if id_problem(intake_id) is None}
    with Listing(posts) as platform:
        child = worker(
            tmp_path,
            redis_url=valkey_server.url,
            database_url=database_url,
            source=platform.source,
            evidence_url=tmp_path / "evidence",
            policy=policy,
            max_attempts=2,
            retry_base_seconds=0.05,
            fetch_timeout_seconds=20,
            log_level="debug",
            explain="off",
        )
        with child:
            intake.client.rpush("deadpan:posts", *pushed)

            def done() -> bool:
                told = intake.status()
                waits = [*told["intake"].values(), told["chunks"], told["retries"]]
                return not any(waits) and len(outcomes(database, printed)) == len(printed)

            wait_until(done, "an outcome for every id", child)
        log = child.log_path.read_bytes()

    # SQL: nothing was dropped or altered, and every text is one that both databases can hold.
    assert set(tables.metadata.tables) <= set(inspect(database).get_table_names())
    with transaction(database) as connection:
        flags = worklist.page(connection, Filter(), limit=500)
        letters = queries.dead_letters(connection, limit=500)
        verdicts = connection.execute(
            select(func.count()).select_from(tables.verdicts)
        ).scalar_one()
    judged = {flag.post_id for flag in flags}
    assert set(TEXTS) <= judged
    assert verdicts == len(judged)
    refused = {raw for raw in pushed if id_problem(raw) is not None}
    assert len(refused) > 5
    for letter in letters:
        assert not unsafe(
            letter.post_id, "\u202e\u2066\u2069\u202c\u200b\u200c\u200d\u2060\ufeff\u00ad"
        )
        assert "\0" not in letter.error
    for flag in flags:
        assert "\0" not in str(flag)
        json.dumps(str(flag), ensure_ascii=False).encode("utf-8")

    # Logs: each event is one line of printable ASCII; no forged one among them. (What Celery says
    # while it starts is no event.)
    lines = log.decode("ascii").splitlines()
    assert all(line.isprintable() for line in lines)
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert "chunk recorded" in events
    assert "forged" not in events
    assert not [line for line in lines if line.startswith("2026-01-01")]

    # The page: what strangers wrote is text and nothing else.
    store = EvidenceStore(str(tmp_path / "evidence"))
    app = create_app(Console(database, intake, store, SECRET))
    with transaction(database) as connection:
        who = moderators.add(connection, "ann", "moderator", actor="test")
        session = sessions.start(connection, who, client="a test", address=None)
        token = tokens.make(connection, who, "test", ["flags:read"], actor="test")
    client = TestClient(app, cookies={COOKIE: session})
    page, after = "", "/"
    while after:
        shown = client.get(after).text
        page += shown
        onwards = re.search(r'href="(/\?[^"]*)"[^>]*rel="next"', shown)
        after = html.unescape(onwards[1]) if onwards else ""
    page = "".join(re.findall(r'<ol class="rows">(.*?)</ol>', page, re.DOTALL))
    listed = client.get("/api/v1/flags", headers={"Authorization": f"Bearer {token}"})
    assert page.count("data-row") == len(flags)
    assert not re.search(r"<(script|svg|img src=x)", page, re.IGNORECASE)
    assert html.escape("<script>alert(1)</script>", quote=False).replace("'", "&#39;") in page
    assert "{{ 7*7 }}" in page
    assert "\0" not in page.replace("before\0after", "")
    assert len(page) < 5_000_000
    assert listed.status_code == 200
    assert listed.headers["content-type"].startswith("application/json")
    assert listed.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("style", ["console", "json"])
@pytest.mark.parametrize("name", [name for name in TEXTS if name != "long"])
def test_a_log_line_stays_one_line_and_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, style: str, name: str
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    text = TEXTS[name]
    try:
        logs.configure("debug", style)
        structlog.get_logger("test").info("said", post=text, **{"odd key": [text]})
        logging.getLogger("elsewhere").warning("a library says %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            structlog.get_logger("test").exception("failed", post={"text": text})
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    lines = written.getvalue().splitlines()
    assert not unsafe(written.getvalue(), "\n\t")
    assert not [line for line in lines if line.startswith("2026-01-01")]
    if style == "json":
        assert len(lines) == 3
        assert json.loads(lines[0])["post"] == text
    else:
        assert sum("[info" in line or "[warning" in line for line in lines if "T" in line) >= 2


def test_a_logged_error_shows_no_values_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def fail() -> None:
        password = "".join(["hunter", "2"])
        raise ValueError(len(password))

    try:
        logs.configure("info", "console")
        try:
            fail()
        except ValueError:
            structlog.get_logger("test").exception("failed")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    assert "ValueError: 7" in written.getvalue()
    assert "hunter2" not in written.getvalue()


def test_tables_on_a_terminal_hold_nothing_that_moves_the_cursor(
    valkey_server: EmbeddedValkey, database_url: str, database: Engine
) -> None:
    from storage.judging.outcomes import record
    from storage.judging.values import NewDeadLetter

    odd = [NewDeadLetter(f"{n}-{text}", "fetch", text, 1) for n, text in enumerate(TEXTS.values())]
    with transaction(database) as connection:
        record(connection, verdicts=[], dead_letters=odd)
    done = deadpan("dead-letters", "list", redis_url=valkey_server.url, database_url=database_url)
    assert done.returncode == 0, done.stderr
    assert not unsafe(done.stdout)
