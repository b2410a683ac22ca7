"""Messages on Celery's list that Deadpan did not write, put aside where somebody can look.

spoilt    list, the newest first: when (seconds since 1970), why, which worker, how many bytes
          there were, and the first of them (base64), as JSON
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque

import structlog
from prometheus_client import Counter

from deadpan.core.errors import DeadpanError
from tasks.intake.intake import Intake

log = structlog.get_logger(__name__)

KEPT_MESSAGES = 100
"""The oldest makes room for the newest: whoever writes rubbish must not fill Redis."""

KEPT_BYTES = 64 * 1024
"""Of each message. One that Deadpan wrote has about 1,000."""

_SHOWN_BYTES = 80
_KEY = "spoilt"

SPOILT_MESSAGES = Counter(
    "deadpan_spoilt_messages",
    "Messages on Celery's list that Deadpan did not write, and that were put aside.",
)


class Spoilt:
    """Puts messages aside. Safe to use from several threads.

    What Redis does not take now (it is away, or full) is kept in this process until `flush`.
    """

    def __init__(self, intake: Intake, *, worker: str) -> None:
        self._intake = intake
        self._worker = worker
        self._held: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self._waits = False
        self._lock = threading.Lock()

    def put_aside(self, message: bytes, why: str) -> None:
        """Keep a message that cannot be worked on, and say so. Raises nothing."""
        SPOILT_MESSAGES.inc()
        log.error(
            "message put aside: Deadpan did not write it",
            why=why,
            bytes=len(message),
            begins=message[:_SHOWN_BYTES].decode("ascii", "backslashreplace"),
            kept_in=self._intake.key(_KEY),
        )
        with self._lock:
            self._held.append(
                json.dumps(
                    {
                        "at": time.time(),
                        "why": why,
                        "worker": self._worker,
                        "length": len(message),
                        "bytes": base64.b64encode(message[:KEPT_BYTES]).decode(),
                    }
                )
            )
        self.flush()

    def flush(self) -> None:
        """Write what Redis has not taken yet."""
        with self._lock:
            try:
                while self._held:
                    keep(self._intake, self._held[0])
                    self._held.popleft()
            except DeadpanError as error:
                if not self._waits:
                    log.warning(
                        "messages put aside are kept in memory until Redis takes them",
                        error=str(error),
                    )
            self._waits = bool(self._held)


def keep(intake: Intake, entry: str) -> None:
    """Add one entry to the list, which stays bounded."""
    with intake.answering():
        pipe = intake.client.pipeline()
        pipe.lpush(intake.key(_KEY), entry)
        pipe.ltrim(intake.key(_KEY), 0, KEPT_MESSAGES - 1)
        pipe.execute()


def count(intake: Intake) -> int:
    """How many were put aside and are still there to be looked at."""
    with intake.answering():
        return int(intake.client.llen(intake.key(_KEY)))
