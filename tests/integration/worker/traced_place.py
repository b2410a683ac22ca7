"""A worker, a console and housekeeping around one Valkey, and what they say of posts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate
from storage.people import moderators, tokens
from storage.tables import outbox, verdicts
from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from tests.receiver import SECRET, Receiver
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

WORDS = "nobody may read this in a trace"
POSTS = {f"p{n}": {"text": f"{WORDS} {n}", "author": "ann"} for n in range(9)}
FLAGS_ALL = '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "q"\npriority = 1\n'
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "200"}  # ms between exports


@dataclass
class Place:
    """A worker, a console and housekeeping around one Valkey and one database."""

    intake: Intake
    database: Engine
    environment: dict[str, str]
    folder: Path
    children: dict[str, ChildProcess]
    api: httpx.Client

    def logs(self) -> list[dict[str, Any]]:
        """All log lines of all processes, by time."""
        told = [
            {**json.loads(line), "process": path.stem}
            for path in self.folder.glob("*.log")
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("{")
        ]
        return sorted(told, key=lambda line: str(line["timestamp"]))

    def said(self, event: str) -> int:
        """How many log lines there are of an event."""
        return [line["event"] for line in self.logs()].count(event)

    def grep(self, trace_id: str) -> list[str]:
        """What `grep ID` over all logs tells: process and event."""
        return [
            f"{line['process']}: {line['event']}"
            for line in self.logs()
            if trace_id in json.dumps(line)
        ]

    def enqueue(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`deadpan enqueue`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deadpan", "enqueue", *arguments],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def wait(self, condition: Any, what: str) -> None:
        wait_until(condition, what, *self.children.values())

    def wait_for_outcomes(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        self.wait(lambda: len(outcomes(self.database, wanted)) == len(wanted), "outcomes")

    def decide(self, post_id: str) -> None:
        """A program approves a post's flag."""
        flags = self.api.get("/flags", params={"limit": 100}).json()["flags"]
        (number,) = [flag["id"] for flag in flags if flag["post_id"] == post_id]
        assert self.api.post(f"/flags/{number}/claim").status_code == 200
        made = self.api.post(f"/flags/{number}/decision", json={"action": "approve"})
        assert made.status_code == 201, made.text

    def kept(self) -> tuple[dict[str, str], dict[str, str]]:
        """The traceparent of each post: in its verdict, and in what the platform is told of it."""
        with transaction(self.database, read_only=True) as connection:
            rows = connection.execute(select(verdicts.c.post_id, verdicts.c.traceparent)).all()
            told = connection.execute(
                select(outbox.c.post_id, outbox.c.traceparent).where(
                    outbox.c.event == "verdict.created"
                )
            ).all()
        return {r[0]: r[1] for r in rows}, {r[0]: r[1] for r in told}


@contextmanager
def place(
    folder: Path,
    valkey: EmbeddedValkey,
    intake: Intake,
    platform: Platform,
    receiver: Receiver,
    *,
    alone: bool = False,
    **otel: Mapping[str, str],
) -> Iterator[Place]:
    """Deadpan's processes.

    Args:
        alone: only a worker, which keeps house itself.
        otel: by process, OpenTelemetry's variables where spans are on.
    """
    (folder / "policy.toml").write_text(FLAGS_ALL)
    url = f"sqlite:///{folder / 'deadpan.db'}"
    database = connect(url)
    migrate(database)
    environ = environment(
        redis_url=valkey.url,
        database_url=url,
        source=platform.source,
        evidence_url=folder / "evidence",
        policy=folder / "policy.toml",
        allow_private_addresses="127.0.0.0/8",
        retry_base_seconds=0.05,
        max_attempts=3,
        explain="off",
        callback_url=receiver.url,
        callback_secret=SECRET,
        callback_retry_base_seconds=0.2,
        secret_key="x" * 32,
        log_format="json",
    )
    port = free_port()
    with transaction(database) as connection:
        who = moderators.add(connection, "bot", "moderator", actor="test")
        scopes = ("posts:write", "flags:read", "flags:decide")
        token = tokens.make(connection, who, "test", scopes, actor="test")
    children = {}
    with ExitStack() as stack:
        commands = [["worker"], ["housekeeping"], ["console", "--port", str(port)]]
        for arguments in [["worker", "--with-housekeeping"]] if alone else commands:
            name = arguments[0]
            more = {"DEADPAN_TRACES": "on", **QUICK, **otel[name]} if name in otel else {}
            children[name] = stack.enter_context(
                ChildProcess(
                    name,
                    [sys.executable, "-m", "deadpan", *arguments],
                    environment={**environ, **more},
                    log_path=folder / f"{name}.log",
                )
            )
        api = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}/api/v1",
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
        )
        here = Place(intake, database, environ, folder, children, api)
        here.wait(lambda: alone or _answers(api), "a console")
        yield here
    database.dispose()


def _answers(api: httpx.Client) -> bool:
    try:
        return api.get("/flags").status_code == 200
    except httpx.TransportError:
        return False
