"""Insight: what is counted, who sees it, and that pages do not wait for it."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace

import pytest

from console.pages import insight
from storage.base.database import transaction
from storage.judging.outcomes import record
from storage.trials import challenger
from storage.trials.challenger import NewChallengerVerdict
from tests.console_data import flag, verdict
from tests.console_server import ConsoleServer
from tests.harness import wait_until


def test_insight_counts_what_was_decided(console: ConsoleServer) -> None:
    person = console.client("eve", "lead")
    for number in range(4):
        one = flag(console.database, f"p{number}")
        action = "remove" if number else "approve"
        person.post(f"/flags/{one}/decide", {"action": action, "reason_code": "hate"})
    page = person.get("/insight").text
    assert re.search(r"75% <span class=.soft.>\(30–95\)", page)
    assert "Decisions per moderator" in page
    assert "Decisions per moderator" not in console.client("vic", "viewer").get("/insight").text
    lines = person.get("/decisions.jsonl").text.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["remove"] * 3 + ["approve"]
    entries = [json.loads(line) for line in person.get("/audit.jsonl").text.splitlines()]
    assert {"flag.remove", "flag.approve", "export", "session.start"} <= {
        entry["action"] for entry in entries
    }


def test_insight_is_counted_beside_the_pages(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, cache, gate = console.client("ann"), console.app.state.insight, threading.Event()
    # Nothing is counted until the gate is opened.
    monkeypatch.setattr(cache, "patience_seconds", 0)
    monkeypatch.setattr(insight, "_INSIGHT_SECONDS", 0)
    cache._pool.submit(gate.wait)
    first = person.get("/insight")
    assert "Counting…" in first.text
    assert first.headers["refresh"] == "2", "it comes back by itself"
    assert "Counting…" in person.get("/insight?days=7").text
    gate.set()
    wait_until(lambda: " in 30 days</dt><dd>0<" in person.get("/insight").text, "numbers")
    number = flag(console.database, "p1")
    person.post(f"/flags/{number}/decide", {"action": "approve"})
    wait_until(lambda: " in 30 days</dt><dd>1<" in person.get("/insight").text, "new ones")


def test_insight_shows_leads_how_a_challenger_compares(console: ConsoleServer) -> None:
    with transaction(console.database) as connection:
        # Two have no words, and so nothing that both models could agree on.
        judged = [
            verdict(f"p{n}", flagged=n == 0, offensive=0.9 if n < 2 else None) for n in range(4)
        ]
        record(connection, verdicts=judged)
        others = [
            replace(
                one,
                model_version="next-1",
                negative=0.8 if n else 0.1,
                neutral=0.2,
                offensive=(0.7, 0.3, None, None)[n],
                hateful=0.1,
                flag=None,
            )
            for n, one in enumerate(judged)
        ]
        challenger.record(
            connection,
            [
                NewChallengerVerdict(one, [], "mini-1", "c1", [] if n else ["negative"])
                for n, one in enumerate(others)
            ],
        )
    page = console.client("eve", "lead").get("/insight").text
    assert "next-1 judges the same posts as mini-1" in page
    assert "75.0%" in page
    assert re.search(r"Same on offensive words</dt><dd>50\.0% ", page)
    assert "hateful" not in page, "the champion does not score it"
    assert re.search(r"would not raise</dt><dd>1<", page)
    assert re.search(r"would add</dt><dd>0<", page)
    assert "next-1" not in console.client("vic", "moderator").get("/insight").text
