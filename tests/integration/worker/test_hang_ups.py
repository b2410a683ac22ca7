"""Whoever asks one of our HTTP servers may hang up at any moment: that is no event."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from deadpan.demo.platform import SamplePlatform
from storage.base.database import connect
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.console_server import serving
from tests.harness import wait_until
from worker.health import HealthServer
from worker.local.embedded import free_port

MEGABYTE = 2**20


@contextmanager
def health() -> Iterator[tuple[int, str]]:
    """As of a worker; its page is too large for what a system keeps for a client."""
    port = free_port()
    server = HealthServer(
        "127.0.0.1",
        port,
        lambda: None,
        process="worker",
        pages={"/much": lambda: (200, {"much": "x" * 8 * MEGABYTE})},
    )
    server.start()
    try:
        yield port, "/much"
    finally:
        server.stop()


@contextmanager
def platform(folder: Path) -> Iterator[tuple[int, str]]:
    """The demo's, with a picture."""
    (folder / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8 * MEGABYTE))
    (folder / "posts.jsonl").write_text('{"id": "1", "text": "x", "images": ["large.png"]}\n')
    with SamplePlatform(folder / "posts.jsonl") as served:
        port = httpx.URL(served.source.partition("?")[0]).port
        assert port
        yield port, "/images/0"


@contextmanager
def console(folder: Path, intake: Intake) -> Iterator[tuple[int, str]]:
    engine = connect(f"sqlite:///{folder}/deadpan.db")
    migrate(engine)
    with serving(engine, intake, EvidenceStore(str(folder / "evidence"))) as served:
        port = httpx.URL(served.url).port
        assert port
        yield port, "/static/console.css"
    engine.dispose()


def hang_up(port: int, sent: bytes, *, read: int = 0, reset: bool) -> None:
    """Send something, read some of the answer, and go: in order, or with a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(sent)
        if read:
            client.recv(read)


@pytest.mark.parametrize("server", ["health", "platform", "console"])
def test_a_client_that_hangs_up_leaves_no_trace(
    server: str,
    tmp_path: Path,
    intake: Intake,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Handlers that other tests left behind may write to where nothing is any more.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with ExitStack() as running:
        starts = {
            "health": health,
            "platform": lambda: platform(tmp_path),
            "console": lambda: console(tmp_path, intake),
        }
        port, path = running.enter_context(starts[server]())
        caplog.clear()
        capfd.readouterr()
        asked = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for reset in (False, True):
            hang_up(port, b"", reset=reset)
            hang_up(port, b"GET /heal", reset=reset)
            hang_up(
                port,
                b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\na",
                reset=reset,
            )
            for _ in range(20):
                hang_up(port, asked, reset=reset)
                hang_up(port, asked, read=1, reset=reset)
                hang_up(port, asked * 3, read=100, reset=reset)
        # It goes on, and has seen each of them when this is answered ten times.
        for _ in range(10):
            assert httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in said] == []
    assert "".join(capfd.readouterr()) == ""


def test_whoever_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.health.SILENT_SECONDS", 0.2)
    with health() as (port, _), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        assert client.recv(1) == b""


def test_a_page_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> str | None:
        raise ArithmeticError("too many sums")

    port = free_port()
    server = HealthServer("127.0.0.1", port, broken, process="worker")
    server.start()
    try:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{port}/readyz")
        told = ""

        def has_told() -> bool:
            nonlocal told
            told += "".join(capfd.readouterr())
            return "too many sums" in told

        wait_until(has_told, "a trace")
    finally:
        server.stop()
