"""What a process that starts says of its Redis."""

from __future__ import annotations

import structlog

from deadpan.core.errors import QueueUnavailable, QueueUnfit
from tasks.intake.intake import Intake

log = structlog.get_logger(__name__)


def look(intake: Intake) -> None:
    """Ask Redis what it is, and log what is unwise about it.

    Raises:
        QueueUnfit: it can hold no intake.
        QueueUnavailable: it cannot be asked now.
    """
    for warning in intake.look():
        log.warning(warning)


def look_if_it_answers(intake: Intake) -> None:
    """The same for a process that goes on without Redis.

    Raises:
        QueueUnfit: it can hold no intake.
    """
    try:
        look(intake)
    except QueueUnfit:
        raise
    except QueueUnavailable as error:
        log.warning("Redis could not be asked what it is", error=str(error))
