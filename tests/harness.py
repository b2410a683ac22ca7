"""Starts workers as a user would, and asks the database what became of posts."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from unittest import mock

from sqlalchemy import Engine

from deadpan import cli
from deadpan.commands.run import SERVING
from deadpan.core import logs, variables
from storage.base.database import transaction
from storage.judging import queries
from worker.local.processes import ChildProcess

PATIENCE_SECONDS = 200.0
"""No test waits longer for anything; a test that gets here has failed."""


def environment(**settings: object) -> dict[str, str]:
    """An environment for a child: this one's, with these DEADPAN_* settings and no others."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEADPAN_")}
    return kept | {f"DEADPAN_{name.upper()}": str(value) for name, value in settings.items()}


def deadpan(
    *arguments: str, stdin: bytes = b"", **settings: object
) -> subprocess.CompletedProcess[str]:
    """What a command says, and its exit code.

    It runs in this process, for a new one takes seconds to import what it needs. Commands that
    serve, and so turn standard error into a log, get a process of their own.
    """
    if arguments[0] in (*SERVING, "demo", "up"):
        done = subprocess.run(
            [sys.executable, "-m", "deadpan", *arguments],
            input=stdin.decode(),
            capture_output=True,
            encoding="utf-8",
            env=environment(**settings),
            timeout=280,
        )
    else:
        done = _in_this_process(arguments, stdin, environment(**settings))
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _in_this_process(
    arguments: tuple[str, ...], stdin: bytes, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    code: object = 0
    buffers = [io.BytesIO(), io.BytesIO()]
    streams = [io.TextIOWrapper(buffer, "utf-8", newline="") for buffer in buffers]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,  # a pipe would have a number too
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.multiple(
            sys, argv=["deadpan", *arguments], stdout=streams[0], stderr=streams[1]
        ),
        mock.patch.object(sys, "stdin", given),
        mock.patch.object(variables, "_told", False),
        # Else what an earlier test served from this process would make a log of standard error.
        mock.patch.object(logs, "_for_machines", False),
        mock.patch.object(logging.getLogger(), "handlers", []),
    ):
        given.buffer.write(stdin)
        given.seek(0)
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    for stream in streams:
        stream.flush()
    said = [written.getvalue().decode() for written in buffers]
    return subprocess.CompletedProcess(arguments, code if isinstance(code, int) else 0, *said)


def worker(folder: Path, name: str = "worker", **settings: object) -> ChildProcess:
    """A worker, not yet started; not restarted, so that a test sees it die."""
    _convert_model()
    return ChildProcess(
        name,
        [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", f"{name}@test"],
        environment=environment(log_format="json", **settings),
        log_path=folder / f"{name}.log",
    )


@cache
def _convert_model() -> None:
    """What the first start on a machine does, while no test waits: it converts and measures the
    model, which took more than two minutes on 2 cores with 30 processes at work."""
    command = [sys.executable, "-m", "deadpan", "classify", "--text", "the first"]
    subprocess.run(command, env=environment(), check=True, capture_output=True)


def wait_until(condition: Callable[[], bool], what: str, *children: ChildProcess) -> None:
    """Wait for a condition; fails with the children's last words."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen\n" + "\n".join(
            child.last_words(40) for child in children
        )
        time.sleep(0.02)


def outcomes(database: Engine, post_ids: Iterable[str]) -> Mapping[str, str]:
    """What became of posts, of those that have an outcome."""
    with transaction(database, read_only=True) as connection:
        return queries.outcome_of(connection, list(post_ids))
