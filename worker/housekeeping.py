"""The housekeeping process, and the same as a thread of a worker."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine

from deadpan.core import logs, spans
from deadpan.core.errors import ConfigurationError, QueueUnavailable, QueueUnfit
from deadpan.core.settings import Settings, signing_secrets
from deadpan.core.settings.notifications import notify_urls, quiet_hours
from deadpan.core.waiting import Waiting, ended_by_signals
from storage.base.database import connect, dispose
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from tasks.callbacks.delivery import Deliverer, Schedule
from tasks.callbacks.webhook import Sender
from tasks.housekeeping.housekeeping import Housekeeper
from tasks.housekeeping.notices import Noticer
from tasks.housekeeping.retention import Periods, Retention
from tasks.housekeeping.targets import apprise_targets
from tasks.intake.intake import Intake
from tasks.order.chore import Ordering, OrderKeeper
from tasks.policy.order_table import reads_author_records
from tasks.watches.stores import show_room
from worker.checks import callback_problems, require_redis
from worker.health import HealthServer
from worker.sampler import Sampler

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Keep house until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: a setting cannot be used.
        DatabaseRefused: the database will not have us; one that is away is waited for.
        QueueUnfit: Redis can hold no intake; without one that is away it goes on.
    """
    logs.configure(settings.log_level, settings.log_format)
    spans.start(settings.traces, "housekeeping")
    database = connect(settings.database_url.get_secret_value())
    try:
        housekeeper = _housekeeper(settings, database)
        show_room(database, EvidenceStore(settings.evidence_url))
        waiting = Waiting()
        health = HealthServer(
            settings.metrics_host,
            settings.metrics_port,
            lambda: waiting.why or housekeeper.not_ready(),
            process="housekeeping",
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: housekeeper.stop())
        intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
        # Whoever leads: a sample is noted once, and none while the database is away would be a gap.
        sampler = Sampler(intake)
        health.start()
        sampler.start()
        try:
            with ended_by_signals(), _notices(settings, database, housekeeper, intake):
                waiting.until_answers(lambda: queries.ping(database))
                try:
                    require_redis(intake)
                except QueueUnfit:
                    raise
                except QueueUnavailable as error:
                    log.warning("Redis cannot be checked now", error=str(error))
            housekeeper.run()
        finally:
            sampler.stop()
            health.stop()
            intake.close()
    finally:
        dispose(database)
        spans.stop()


@contextmanager
def beside(settings: Settings) -> Iterator[None]:
    """Keep house in a thread while the block runs, as a part of another process.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    database = connect(settings.database_url.get_secret_value())
    try:
        housekeeper = _housekeeper(settings, database)
        intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
        thread = threading.Thread(target=housekeeper.run, name="housekeeping", daemon=True)
        thread.start()
        try:
            with _notices(settings, database, housekeeper, intake):
                yield
        finally:
            housekeeper.stop()
            thread.join()
            intake.close()
    finally:
        dispose(database)


@contextmanager
def _notices(
    settings: Settings, database: Engine, housekeeper: Housekeeper, intake: Intake
) -> Iterator[None]:
    """Tell people, while the block runs, if anybody is to be told.

    Raises:
        ConfigurationError: a URL cannot be used, or what sends is not installed.
    """
    urls = notify_urls(settings.notify_urls)
    if not urls:
        yield
        return
    noticer = Noticer(
        database,
        apprise_targets(urls),
        leads=lambda: housekeeper.leads,
        intake=intake,
        console_url=settings.console_url,
        quiet=quiet_hours(settings.notify_quiet_hours),
    )
    noticer.start()
    try:
        yield
    finally:
        noticer.stop()


def _housekeeper(settings: Settings, database: Engine) -> Housekeeper:
    return Housekeeper(
        database,
        holder=f"{socket.gethostname()[:100]}/{os.getpid()}/{secrets.token_hex(4)}",
        deliverer=_deliverer(settings),
        retention_days=settings.retention_callbacks_days,
        retention=Retention(
            Periods(
                verdicts=settings.retention_verdicts_days,
                evidence=settings.retention_evidence_days,
                decisions=settings.retention_decisions_days,
                audit=settings.retention_audit_days,
                evidence_queues=settings.retention_evidence_queues,
                decisions_queues=settings.retention_decisions_queues,
            ),
            EvidenceStore(settings.evidence_url),
        ),
        challenger_days=settings.retention_challenger_days,
        order=OrderKeeper(
            Ordering(
                on=settings.learned_order == "on",
                bound_hours=settings.learned_order_hours,
                random_share=settings.learned_order_random_share,
                authors=reads_author_records(settings.policy),
            )
        ),
    )


def _deliverer(settings: Settings) -> Deliverer | None:
    if not settings.callback_url:
        return None
    if problems := callback_problems(settings):
        raise ConfigurationError(problems)
    sender = Sender(
        settings.callback_url,
        signing_secrets(settings.callback_secret),
        timeout_seconds=settings.callback_timeout_seconds,
        allowed_networks=settings.allow_private_addresses,
        connections=settings.callback_connections,
    )
    return Deliverer(
        sender,
        schedule=Schedule(settings.callback_retry_base_seconds),
        connections=settings.callback_connections,
    )
