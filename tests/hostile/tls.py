"""TLS in front of a server that has none, as stunnel does it: for a Valkey built without TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import trustme


@contextlib.contextmanager
def tls_before(port: int, authority: trustme.CA) -> Iterator[int]:
    """Serve a port on loopback with TLS, as `localhost`; gives the port to connect to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    def carry(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            secure = context.wrap_socket(client, server_side=True)
            plain = socket.create_connection(("127.0.0.1", port))
            other = threading.Thread(target=pump, args=(plain, secure), daemon=True)
            other.start()
            pump(secure, plain)
            other.join()
            secure.close()
            plain.close()

    def pump(here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
