"""The Celery app. `deadpan worker` and `celery -A worker worker` start the same thing.

Its only task is in `tasks.moderate.task`. What a chunk needs (the warm model, the source, the
database) is built once in the process before the worker consumes: see `runtime`, which is imported
only there, so that a process which merely sends chunks needs no torch.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog
from celery import Celery, bootsteps, signals

from deadpan.core import logs, settings, spans, variables
from deadpan.core.errors import DeadpanError
from tasks.moderate import task

log = structlog.get_logger(__name__)

app = Celery("deadpan")
app.config_from_object("worker.celeryconfig")


class OrderlyEnd(bootsteps.StartStopStep):  # type: ignore[misc]
    """Hears of ends that no signal announces: `celery control shutdown`, and errors of Celery."""

    requires = ("celery.worker.components:Pool",)
    exit_code = 0
    """What Celery would end with; `Celery.worker_main` forgets it."""

    def close(self, worker: Any) -> None:
        """Before Celery waits for its threads."""
        from worker import runtime

        OrderlyEnd.exit_code = worker.exitcode or 0
        runtime.current().ending.ask()


app.steps["worker"].add(OrderlyEnd)


@signals.setup_logging.connect
def _logs(**_: Any) -> None:
    """Celery asks before it sets up logging of its own; ours stands since `_warm`."""


@signals.celeryd_init.connect
def _warm(sender: str, **_: Any) -> None:
    """Before Celery connects: no worker consumes a chunk that it could not judge at once."""
    from worker import runtime

    logs.begin()
    variables.tell()
    try:
        loaded = settings.load()
        logs.configure(loaded.log_level, loaded.log_format)
        spans.start(loaded.traces, "worker")
        runtime.start(loaded, name=sender)
        task.judge_with(runtime.current().runner)
    except DeadpanError as error:
        logs.complain(error)
        sys.exit(error.exit_code)
    except Exception:
        # Celery would log it and go on: a worker that takes chunks and can judge none.
        log.critical("ended by an unforeseen error", exc_info=True)
        sys.exit(1)


@signals.worker_ready.connect
def _dispatch(**_: Any) -> None:
    from worker import runtime

    runtime.current().dispatch(task.send)


@signals.worker_shutting_down.connect
def _end(how: str, **_: Any) -> None:
    from worker import runtime

    runtime.current().ending.ask_again(cold=how == "Cold")


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    from worker import runtime

    runtime.current().close()
    spans.stop()
