"""Workers and consoles of the version before and of this one at once, on one migrated database."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from storage.base.database import connect, transaction
from storage.migrations.schema import migrate, schema_problem
from storage.people import moderators, tokens
from storage.tables import dead_letters, flags, outbox, tallies, verdicts
from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until, worker
from tests.platform import Platform
from tests.receiver import SECRET
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

VERSION_BEFORE = "f85e1ccbf79db723d2a96977d1be271dca9945d5"
"""A commit; with each release, the one of the release before."""

IDS = [f"p{n}" for n in range(200)]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version before, as it was."""
    git = ["git", "-C", str(ROOT)]
    there = subprocess.run(
        [*git, "cat-file", "-e", f"{VERSION_BEFORE}^{{commit}}"], capture_output=True
    )
    if there.returncode:
        pytest.skip(
            f"the version before, commit {VERSION_BEFORE[:12]}, is not in this clone: "
            "fetch the whole history (git fetch --unshallow) to try a rolling upgrade"
        )
    folder = tmp_path_factory.mktemp("before")
    parts = ["deadpan", "worker", "tasks", "models", "sources", "storage", "console"]
    packed = subprocess.run(
        [*git, "archive", VERSION_BEFORE, *parts], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def inside(folder: Path, *command: str) -> list[str]:
    """A command of Python's that takes our packages from a folder and not from here."""
    return ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), sys.executable, *command]


def old_worker(before: Path, folder: Path, name: str, settings: dict[str, object]) -> ChildProcess:
    arguments = ["-m", "celery", "-A", "worker", "worker", "-n", f"{name}@test"]
    return ChildProcess(
        name,
        inside(before, *arguments),
        # That version's first batch could stand still for ever on OpenVINO (decision 0007).
        environment=environment(log_format="json", engine="torch", **settings),
        log_path=folder / f"{name}.log",
    )


def a_console(
    command: Sequence[str], folder: Path, name: str, settings: dict[str, object]
) -> ChildProcess:
    return ChildProcess(
        name, command, environment=environment(**settings), log_path=folder / f"{name}.log"
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_versions_side_by_side_lose_nothing_and_do_nothing_twice(
    tmp_path: Path, before: Path, valkey_server: EmbeddedValkey, intake: Intake, postgres_url: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "all"\npriority = 1\n'
    )
    settings: dict[str, object] = {
        "redis_url": valkey_server.url,
        "database_url": postgres_url,
        "evidence_url": tmp_path / "evidence",
        "policy": policy,
        "explain": "off",
        "lease_seconds": 3,
        "chunk_size": 8,
        "slots": 1,
        # Nobody delivers here: what is written is what counts.
        "callback_url": "https://platform.example/callbacks",
        "callback_secret": SECRET,
    }
    subprocess.run(
        inside(before, "-m", "deadpan", "db", "migrate"), env=environment(**settings), check=True
    )
    database = connect(postgres_url)
    assert "has an older schema" in str(schema_problem(database)), "it is the version before"
    ports = {"old": free_port(), "new": free_port()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    serve = {
        name: ["-m", "deadpan", "console", "--port", str(port)] for name, port in ports.items()
    }

    def names() -> set[str]:
        return {each["name"].split("@")[0] for each in intake.status()["workers"]}

    def owners() -> set[str]:
        held = intake.client.hvals("deadpan:chunk-owners")
        return {owner.decode().split("@")[0] for owner in held}

    def killed_in_the_middle(child: ChildProcess) -> None:
        wait_until(lambda: child.name in owners(), f"{child.name} has a chunk", child)
        os.kill(child.pid, signal.SIGKILL)

    with Platform({i: {"text": f"post {i}"} for i in IDS}, delay_seconds=0.2) as platform:
        settings |= {"source": platform.source}
        old = [old_worker(before, tmp_path, f"old{n}", settings) for n in range(2)]
        new = [worker(tmp_path, f"new{n}", **settings) for n in range(2)]
        old_console = a_console(inside(before, *serve["old"]), tmp_path, "console-old", settings)
        new_console = a_console([sys.executable, *serve["new"]], tmp_path, "console-new", settings)
        with old[0], old[1], old_console:
            wait_until(lambda: {"old0", "old1"} <= names(), "old workers", *old)
            wait_until(lambda: answers(urls["old"]), "the old console", old_console)
            intake.enqueue(IDS[:60])
            wait_until(lambda: len(outcomes(database, IDS)) >= 8, "old outcomes", *old)
            # In the order that docs/howto/upgrade.md gives: migrations, console, workers.
            migrate(database)
            with new_console, new[0], new[1]:
                intake.enqueue(IDS[60:100])
                wait_until(lambda: {"new0", "new1"} <= names(), "new workers", *new)
                wait_until(lambda: answers(urls["new"]), "the new console", new_console)
                platform.delay_seconds = 1.0
                intake.enqueue(IDS[100:])
                killed_in_the_middle(old[0])
                killed_in_the_middle(new[0])
                platform.delay_seconds = 0.0
                wait_until(
                    lambda: len(outcomes(database, IDS)) == 200 and not intake.status()["chunks"],
                    "200 outcomes",
                    old[1],
                    new[1],
                )
                with transaction(database) as connection:
                    eve = moderators.add(connection, "eve", "moderator", actor="test")
                    scopes = ["flags:read", "flags:decide"]
                    token = tokens.make(connection, eve, "test", scopes, actor="test")
                    number = connection.execute(select(func.min(flags.c.id))).scalar_one()
                headers = {"Authorization": f"Bearer {token}"}
                for here, there, flag in (("old", "new", number), ("new", "old", number + 1)):
                    at = f"/api/v1/flags/{flag}"
                    claimed = httpx.post(f"{urls[here]}{at}/claim", headers=headers)
                    assert claimed.status_code == 200, claimed.text
                    said = {"action": "approve"}
                    decided = httpx.post(f"{urls[there]}{at}/decision", headers=headers, json=said)
                    assert decided.status_code == 201, decided.text
            assert old[1].exit_code is None, "an old worker goes on"
    with transaction(database, read_only=True) as connection:
        judged = connection.execute(select(verdicts.c.post_id)).scalars().all()
        flagged = connection.execute(select(flags.c.post_id)).scalars().all()
        about_verdicts = outbox.c.event == "verdict.created"
        told = connection.execute(select(outbox.c.post_id).where(about_verdicts)).scalars().all()
        letters = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
        counted = dict(
            connection.execute(
                select(tallies.c.name, func.sum(tallies.c.value)).group_by(tallies.c.name)
            ).all()
        )
    database.dispose()
    assert sorted(judged) == sorted(flagged) == sorted(told) == sorted(IDS)
    assert letters == 0
    assert counted == {"verdicts": 200, "flags": 200}
