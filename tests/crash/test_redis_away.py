"""Redis goes and comes back: workers say so, wait, and go on by themselves."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey, free_port

pytestmark = pytest.mark.long

IDS = [f"p{n}" for n in range(90)]
POSTS = {i: {"text": f"post {i}"} for i in IDS}


class Probe:
    """Asks a worker whether it is ready."""

    def __init__(self) -> None:
        self.port = free_port()

    def why_not(self) -> str | None:
        """None when it is ready; a word of why when it is not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=30):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["why"])
        except OSError as error:
            return f"it does not answer: {error}"

    def metric(self, name: str) -> str:
        """Its lines of a metric; empty while it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/metrics", timeout=30
            ) as all_:
                lines = all_.read().decode().splitlines()
        except OSError:
            return ""
        return "\n".join(line for line in lines if line.startswith(name))

    def ready(self) -> bool:
        return self.why_not() is None


@pytest.fixture
def valkey(tmp_path: Path) -> Any:
    """A Valkey of the test's own, to be stopped and started."""
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


def test_work_goes_on_by_itself_after_redis_was_away_and_the_worker_is_the_same(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, valkey: EmbeddedValkey
) -> None:
    probe, intake = Probe(), Intake.at(valkey.url)
    with Platform(POSTS, delay_seconds=0.3) as platform:
        settings |= {"redis_url": valkey.url, "source": platform.source, "lease_seconds": 2}
        with worker(tmp_path, metrics_port=probe.port, **settings) as child:
            wait_until(probe.ready, "readiness", child)
            pid = child.pid
            for number, killed in enumerate((False, True, False)):
                ids = IDS[number * 30 : number * 30 + 30]
                intake.enqueue(ids)
                wait_until(lambda ids=ids: any(i in platform.asked for i in ids), "work", child)  # type: ignore[misc]
                if killed:
                    os.kill(valkey.process.pid, signal.SIGKILL)
                valkey.stop()
                wait_until(lambda: "Redis" in (probe.why_not() or ""), "unreadiness", child)
                valkey.start()
                wait_until(probe.ready, "readiness", child)
                wait_until(
                    lambda ids=ids: (
                        len(outcomes(sqlite, ids)) == 30  # type: ignore[misc]
                        and not intake.status()["chunks"]
                    ),
                    "its outcomes",
                    child,
                )
            assert (child.exit_code, child.pid) == (None, pid)
    intake.close()


def test_a_worker_that_is_connected_and_takes_nothing_ends_to_be_started_again(
    tmp_path: Path,
    settings: dict[str, Any],
    sqlite: Engine,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The fault of old: the consumer lives, its connection too, and it asks for nothing more.
    deaf = tmp_path / "deaf"
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "sitecustomize.py").write_text(
        "import os, kombu.transport.redis as transport\n"
        "start = transport.Channel._brpop_start\n"
        "def deafened(self, *given, **named):\n"
        f"    if not os.path.exists({str(deaf)!r}):\n"
        "        return start(self, *given, **named)\n"
        "transport.Channel._brpop_start = deafened\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    with Platform(POSTS) as platform:
        # An hour: only what is handed on can be done by the next worker.
        settings |= {"source": platform.source, "lease_seconds": 3600}
        child = worker(tmp_path, **settings)
        pushed: list[str] = []

        def ended() -> bool:
            told = intake.status()["intake"]
            if not any(told.values()) and len(pushed) < len(IDS):
                pushed.append(IDS[len(pushed)])
                intake.enqueue(pushed[-1:])
            return child.exit_code is not None

        with child:
            intake.enqueue([IDS[-1]])
            wait_until(lambda: len(outcomes(sqlite, [IDS[-1]])) == 1, "work", child)
            deaf.touch()
            wait_until(ended, "its end", child)
        assert child.exit_code == 1
        assert "worker does nothing" in child.last_words(200)
        deaf.unlink()
        with worker(tmp_path, "next", **settings) as successor:
            wait_until(
                lambda: len(outcomes(sqlite, pushed)) == len(pushed), "all outcomes", successor
            )
