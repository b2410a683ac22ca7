"""Celery's settings. Each line that is not Celery's default says why.

Celery reads this module when it first needs a setting, and so do Deadpan's own.
"""

import sys

from deadpan.core import logs
from deadpan.core.errors import SettingsError
from deadpan.core.redis_url import read
from deadpan.core.settings import load
from worker import broker

try:
    _settings = load()
except SettingsError as error:
    # Celery would show a stack trace for what is a user's mistake.
    logs.begin()
    logs.complain(error)
    sys.exit(error.exit_code)

# Options of the URL count for Celery's connections too; what it does not say is below.
broker_url = broker.use(read(_settings.redis_url.get_secret_value()))
task_default_queue = f"{_settings.prefix}:celery"
worker_concurrency = _settings.slots

# Every slot of the threads pool shares the one warm model, and the worker answers `ping` while
# the model is busy, which the solo pool does not.
worker_pool = "threads"

# JSON only: a pickled message would run code of whoever can write to Redis.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
task_ignore_result = True

# A busy worker must not hoard chunks that an idle one could begin at once.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True

# The lease of a chunk guards its work. Late only because with early acknowledgement, a worker that
# does not prefetch is asleep most of the time: docs/decisions/0002-acknowledge-late.md.
task_acks_late = True

broker_connection_retry_on_startup = True
worker_consumer = "worker.consumer:Consumer"
broker_connection_max_retries = None
# Redis that is full, or a replica after a failover, refuses; else that would end the worker.
broker_channel_error_retry = True
broker_transport_options = {
    "socket_timeout": 10.0,
    "socket_connect_timeout": 5.0,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

# Work that outlives a lost connection goes on: its outcome is written under the chunk's lease.
worker_cancel_long_running_tasks_on_connection_loss = False

worker_hijack_root_logger = False
worker_send_task_events = False
enable_utc = True
timezone = "UTC"
