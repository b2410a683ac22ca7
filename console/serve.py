"""Starts the console."""

from __future__ import annotations

import secrets
import socket
import sys

import uvicorn

from console.access import sign_in_link
from console.app import create_app
from deadpan import logs
from deadpan.errors import ConfigurationError
from deadpan.settings import load
from storage.database import connect
from storage.evidence import EvidenceStore
from storage.schema import require_schema
from tasks.intake import Intake


def serve(*, host: str, port: int) -> None:
    """Serve the console until SIGINT or SIGTERM, and print a sign-in link.

    Without DEADPAN_SECRET_KEY a key is made for this process alone, so links end with it.

    Raises:
        ConfigurationError: the port is taken.
        SchemaError: the database has another schema than this version needs.
    """
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    secret = secret or secrets.token_urlsafe(48)
    database = connect(settings.database_url.get_secret_value())
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        require_schema(database)
        app = create_app(
            database=database,
            intake=intake,
            evidence=EvidenceStore(settings.evidence_url),
            secret_key=secret,
        )
        listening = _listen(host, port)
        shown = f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{listening.getsockname()[1]}"  # noqa: S104 - compared, not bound
        sys.stdout.write(f"console: {sign_in_link(secret, shown)}\n")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        intake.close()
        database.dispose()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), reuse_port=False)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port"
        ) from None
