"""The socket that the console waits on."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from console.serve import listen
from deadpan.core.errors import ConfigurationError


def test_answers_leave_at_once() -> None:
    with (
        closing(listen("127.0.0.1", 0)) as listening,
        closing(socket.create_connection(listening.getsockname())),
        closing(listening.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with closing(listen("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} .*another --port"):
            listen("127.0.0.1", port)
