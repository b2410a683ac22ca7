"""`deadpan status --watch` in a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deadpan.cli import app
from deadpan.commands.status import Snapshot, span
from deadpan.core.errors import ConfigurationError, QueueStateError
from sources.ids import IdFile
from storage.base.database import connect
from tasks.intake.arrivals import publish_scaling
from tasks.intake.backfill import Backfill, Progress
from tasks.intake.intake import Intake
from tests.harness import environment, wait_until
from worker.local.embedded import EmbeddedValkey
from worker.local.services import migrate_database


class Terminal:
    """What a program wrote on a terminal, without control sequences."""

    def __init__(self, child: subprocess.Popen[bytes], end: int) -> None:
        self.child = child
        self._end = end
        self.raw = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self._end, 65536)
            except OSError:
                return
            self.raw += more

    def join(self) -> None:
        """Read what is left of a program that ended."""
        self._thread.join(timeout=10)

    def shows(self, words: str) -> bool:
        """Whether it ever had them since `raw` was emptied."""
        assert self.child.poll() is None, self.raw
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))
        return re.search(words, text) is not None


@contextmanager
def watching(**settings: object) -> Iterator[Terminal]:
    here, there = pty.openpty()
    termios.tcsetwinsize(here, (50, 140))
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "status", "--watch", "--interval", "0.3"],
        stdin=subprocess.DEVNULL,
        stdout=there,
        stderr=there,
        env={**environment(**settings), "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(there)
    terminal = Terminal(child, here)
    try:
        yield terminal
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        os.close(here)


def test_it_is_live_survives_an_outage_and_ends_clean(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    migrate_database(url)
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        intake = Intake.at(valkey.url)
        with watching(redis_url=valkey.url, database_url=url) as terminal:
            wait_until(lambda: terminal.shows("no target set"), "a first look")
            intake.enqueue([str(n) for n in range(1234)], "low")
            intake.enqueue(["1", "2"], "high")
            intake.say("me@here", ready=True, model="mini-1")
            publish_scaling(intake, {"desired": 3, "why": "for posts that wait"})
            come = {"priority": "low", "pushed": 5_000_000, "skipped": {}, "at": time.time()}
            come |= {"fraction": 0.25, "per_second": 199.6, "left_seconds": 9000}
            intake.client.hset("deadpan:backfills", "may", json.dumps(come))
            for words in (
                r"low\s+1,234",
                r"high\s+2",
                r"me@here\s+ready\s+mini-1",
                "1 ready, 3 wanted, for posts that wait",
                r"callbacks\s+0 pending, 0 parked",
                r"dead letters\s+0",
                r"posts/s done",
                r"backfill\s+may, low: 5,000,000 pushed \(25\.0%\), 200/s, 2\.5 h left",
            ):
                wait_until(lambda words=words: terminal.shows(words), words)  # type: ignore[misc]
            valkey.stop()
            wait_until(lambda: terminal.shows(r"cannot reach Redis[^§]*as of \d\d:"), "the outage")
            terminal.raw = b""
            valkey.process.start()
            valkey.wait()
            wait_until(lambda: terminal.shows(r"Deadpan at \d\d:"), "its return")
            terminal.child.send_signal(signal.SIGINT)
            assert terminal.child.wait(timeout=30) == 0
            terminal.join()
            assert b"\x1b[?25h" in terminal.raw, "the cursor is back"
            assert b"\x1b[?1049l" in terminal.raw, "the screen is as it was"
            assert b"Traceback" not in terminal.raw
        intake.close()


def test_it_is_refused_where_there_is_no_terminal_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, valkey_server: EmbeddedValkey
) -> None:
    monkeypatch.setenv("DEADPAN_REDIS_URL", valkey_server.url)
    with pytest.raises(ConfigurationError, match=r"--watch needs a terminal.*--json"):
        app(["status", "--watch"], standalone_mode=False)
    with pytest.raises(ConfigurationError, match="--watch and --json"):
        app(["status", "--watch", "--json"], standalone_mode=False)


def test_backfills_that_are_not_through_are_shown(tmp_path: Path, intake: Intake) -> None:
    url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    migrate_database(url)
    ids = tmp_path / "ids"
    ids.write_text("".join(f"{n:06}\n" for n in range(4000)))

    def interrupt(progress: Progress) -> None:
        if progress.pushed >= 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Backfill(intake, IdFile(ids), name="ma\x1by", priority="low", told=interrupt).run()
    # as a version before this one left it, an hour ago
    old = {"kind": "lines", "place": {}, "pushed": 70, "priority": "high"}
    old |= {"skipped": {"empty": 1, "unfit": 0, "repeated": 0}, "at": round(time.time()) - 3600}
    intake.client.hset("deadpan:backfills", "older", json.dumps(old))
    database = connect(url)
    look = Snapshot(intake, database)
    new, older = look.told["backfills"]
    assert (new["name"], new["priority"], new["pushed"]) == ("ma\x1by", "low", 2000)
    assert new["fraction"] == 0.5
    assert new["per_second"] > 0
    assert new["left_seconds"] is not None
    assert new["pushed_seconds_ago"] < 3600
    assert (older["pushed"], older["skipped"]["empty"], older["fraction"]) == (70, 1, None)
    first, second = [text for name, text in look.lines() if name == "backfill"]
    assert re.fullmatch(r"ma\\x1by, low: 2,000 pushed \(50\.0%\), [\d,]+/s.*", first)
    assert second == "older, high: 70 pushed; last push 60 min ago: waiting or interrupted"

    Backfill(intake, IdFile(ids), name="ma\x1by", priority="low").run()
    assert [each["name"] for each in Snapshot(intake, database).told["backfills"]] == ["older"]
    intake.client.hset("deadpan:backfills", "older", "nonsense")
    with pytest.raises(QueueStateError, match=r"nonsense.*'older'.*HDEL"):
        Snapshot(intake, database)
    database.dispose()


def test_times_are_said_as_people_say_them() -> None:
    assert [span(s) for s in (0, 5, 99, 150, 7000)] == ["–", "5 s", "99 s", "2 min", "1.9 h"]
