"""Starts the console."""

from __future__ import annotations

import secrets
import socket
import sys
import threading
from collections.abc import Callable, Collection

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine

from console.app import create_app
from console.people.links import first_link
from console.people.openid import Provider
from console.people.openid_roles import ClaimedRoles
from console.web.state import SOURCE_REQUESTS, SOURCE_SECONDS, Console
from deadpan.core import logs, spans
from deadpan.core.errors import (
    ConfigurationError,
    QueueUnavailable,
    QueueUnfit,
    SettingsError,
)
from deadpan.core.settings import Network, Settings, load
from deadpan.core.waiting import Waiting
from sources.mapping import PostMapping
from sources.open import open_source
from sources.source import PicturedSource
from storage.base.database import connect
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import require_schema
from tasks.intake.intake import Intake
from tasks.policy.reason_codes import read_reason_codes

log = structlog.get_logger(__name__)

_CONNECTIONS = 20
"""Requests run in up to 40 threads, and most of their time is not spent in the database."""


def serve(*, host: str, port: int) -> None:
    """Serve the console until SIGINT or SIGTERM. Where nobody can sign in yet, print a link that
    makes the first administrator. While the database is away, pages say so.

    Raises:
        ConfigurationError: the port is taken, or the policy cannot be read.
        DatabaseRefused: the database refuses the connection.
        SchemaError: the database has a different schema than this version needs.
        QueueUnfit: Redis cannot hold the intake.
    """
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    spans.start(settings.traces, "console")
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    database = connect(settings.database_url.get_secret_value(), pool_size=_CONNECTIONS)
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    source = _source(settings)
    try:
        console = Console(
            database=database,
            intake=intake,
            evidence=EvidenceStore(settings.evidence_url),
            secret_key=secret or secrets.token_urlsafe(48),
            claim_seconds=settings.claim_seconds,
            reasons=read_reason_codes(settings.policy),
            report_decisions=bool(settings.callback_url),
            second_review_share=settings.second_review_share,
            known_answer_share=settings.known_answer_share,
            url=settings.console_url,
            passwords=settings.console_passwords == "on",
            source=source,
        )
        app = create_app(console, provider=_provider(settings))
        listening = listen(host, port)
        shown = f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{listening.getsockname()[1]}"  # noqa: S104 - compared, not bound
        server = uvicorn.Server(configuration(app, settings.trusted_proxies))
        opening = _Opening(
            server,
            lambda: require_schema(database),
            lambda: _announce(database, settings.console_url or shown, console.passwords),
            lambda: _require_fit_redis(intake),
        )
        opening.start()
        server.run(sockets=[listening])
        if opening.failed is not None:
            raise opening.failed
    finally:
        if source is not None:
            source.close()
        intake.close()
        database.dispose()
        spans.stop()


def _require_fit_redis(intake: Intake) -> None:
    """Pages say when Redis is away; a Redis that cannot hold the intake ends the console."""
    try:
        intake.look()
    except QueueUnfit:
        raise
    except QueueUnavailable:
        return


def configuration(app: FastAPI, trusted_proxies: Collection[Network] = ()) -> uvicorn.Config:
    """How the console is served.

    Args:
        trusted_proxies: networks of proxies that say where a request came from. Nobody else is
            believed, not even on loopback, as uvicorn would: whoever can reach the port there could
            guess passwords from a new address each time, and write what they like into the audit
            log.
    """
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=[str(network) for network in trusted_proxies],
        # Longer than proxies keep idle connections: they must not send into a closed one.
        timeout_keep_alive=75,
    )


class _Opening(threading.Thread):
    """Waits for the database while pages are served already, and then says where the console is.
    A database that it cannot be opened with ends the server."""

    def __init__(self, server: uvicorn.Server, *asks: Callable[[], None]) -> None:
        super().__init__(name="opening", daemon=True)
        self._server = server
        self._asks = asks
        self.failed: Exception | None = None

    def run(self) -> None:
        waiting = Waiting()
        try:
            for ask in self._asks:
                waiting.until_answers(ask)
        except Exception as error:
            self.failed = error
            self._server.should_exit = True


def _source(settings: Settings) -> PicturedSource | None:
    """Where posts are looked at again; the console has no need of their pictures."""
    if settings.console_source == "off" or not settings.source:
        return None

    def told(secret: SecretStr | None) -> str | None:
        return secret.get_secret_value() if secret else None

    try:
        return open_source(
            settings.source,
            token=told(settings.source_token),
            timeout_seconds=min(SOURCE_SECONDS, settings.fetch_timeout_seconds),
            mapping=PostMapping.parse(settings.source_fields),
            threads=SOURCE_REQUESTS,
            database_url=told(settings.source_database_url),
            database_query=settings.source_query or None,
        )
    except SettingsError as error:
        # Flags can be decided without it; a worker does not start.
        log.warning("threads and changes of posts are not shown", error=str(error))
        return None


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer or settings.oidc_client_secret is None:
        return None
    return Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret.get_secret_value(),
        settings.console_url,
        scopes=" ".join(settings.oidc_scopes),
        roles=ClaimedRoles(settings.oidc_role_claim, settings.oidc_roles)
        if settings.oidc_role_claim
        else None,
    )


def _announce(database: Engine, base_url: str, passwords: bool) -> None:
    link = first_link(database, base_url, passwords=passwords)
    sys.stdout.write(f"console: {link or base_url}\n")
    sys.stdout.flush()


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        ConfigurationError: the port is taken, or the host is no address of this machine.
    """
    try:
        listening = socket.create_server((host, port), reuse_port=False)
    except OSError as error:
        raise ConfigurationError(
            # Python adds the address that it was given.
            f"cannot listen on {host}:{port} ({str(error.strerror).partition(' (')[0]}); "
            "choose another --port"
        ) from None
    # asyncio does this only for sockets that name their protocol. Without it an answer's body waits
    # until the client has acknowledged its head: 40 ms for every page and picture.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
