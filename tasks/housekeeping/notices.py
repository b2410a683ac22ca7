"""Notifications: what needs people is noted by whoever leads, and sent through Apprise.

What was noted and what was sent is in the table `notices`, so that a restart, or a second process,
sends nothing twice. Only a process that dies between a receiver's answer and its commit does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import DeadpanError
from deadpan.core.settings.notifications import QuietHours
from storage.base.database import transaction
from storage.flags import summons
from storage.keeping import notices
from storage.keeping.notices import Matter
from storage.reports import promises
from storage.tables import Notice
from tasks.callbacks import metrics
from tasks.housekeeping.targets import Target
from tasks.intake.intake import Intake

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 30.0
#: A notice that does not arrive is tried again this long after each try, and then given up.
RETRY_AFTER: Final = tuple(timedelta(seconds=s) for s in (30, 120, 600, 1800, 7200))
_TURN_SECONDS: Final = 2.0
_LETTERS_EVERY: Final = timedelta(hours=1)
#: Whoever used no session for as long is away.
AWAY_AFTER: Final = timedelta(minutes=10)
_ASKED: Final = {"mention": "mentioned you on a flag", "hand-over": "handed you a flag"}
_TITLE: Final = "Deadpan"


class Noticer:
    """A thread that notes, while this process leads, and sends.

    Args:
        leads: whether this process is the one that notes.
        intake: says whether the source is down; None where nobody asks.
        console_url: where links lead; empty leaves them out.
        quiet: when nothing is sent.
    """

    def __init__(
        self,
        database: Engine,
        targets: Sequence[Target],
        *,
        leads: Callable[[], bool],
        intake: Intake | None = None,
        console_url: str = "",
        quiet: QuietHours | None = None,
    ) -> None:
        self._database = database
        self._targets = targets
        self._leads = leads
        self._intake = intake
        self._console_url = console_url
        self._quiet = quiet
        self._look_at = datetime.min.replace(tzinfo=UTC)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being sent."""
        self._stopping.set()
        self._thread.join()

    def turn(self, *, now: datetime | None = None) -> None:
        """Note what is new, and send what is due.

        Raises:
            StorageError: the database is away.
        """
        moment = now if now is not None else datetime.now(UTC)
        if self._leads() and moment >= self._look_at:
            self._note(moment)
            self._look_at = moment + timedelta(seconds=LOOK_SECONDS)
        if self._quiet is not None and self._quiet.hold(moment):
            return
        while not self._stopping.is_set():
            with transaction(self._database) as connection:
                notice = notices.take(connection, targets=len(self._targets), now=moment)
            if notice is None:
                return
            self._send(notice, moment)

    def _run(self) -> None:
        while not self._stopping.wait(_TURN_SECONDS):
            try:
                self.turn()
            except DeadpanError as error:
                log.warning("notifications wait", error=str(error))
                self._stopping.wait(LOOK_SECONDS)
            except Exception:
                log.exception("notifications failed unexpectedly")
                self._stopping.wait(LOOK_SECONDS)

    def _note(self, now: datetime) -> None:
        looked_at = {"overdue", "mention", "dead-letters"}
        source_is_down = self._source_is_down()
        if source_is_down is not None:
            looked_at.add("source")
        with transaction(self._database) as connection:
            found = [
                Matter(
                    "overdue",
                    queue,
                    f"Queue {queue}: {_flags(number)} longer than promised."
                    f"{self._link(f'/?queue={queue}&due=late')}",
                )
                for queue, number in promises.overdue(connection, now=now).items()
            ]
            found += [
                Matter(
                    "mention",
                    str(each.id),
                    f"{each.moderator}: {each.asked_by} {_ASKED[each.why]}."
                    f"{self._link(f'/flags/{each.flag_id}')}",
                )
                for each in summons.unheard(connection, now=now, after=AWAY_AFTER)
            ]
            told = notices.newest_subject(connection, "dead-letters")
            last, at = (int(told[0]), told[1]) if told else (0, None)
            number, newest = notices.new_dead_letters(connection, after_id=last)
            if number and (at is None or now - at >= _LETTERS_EVERY):
                posts = "1 post" if number == 1 else f"{number:,} posts"
                text = f"{posts} could not be judged; `deadpan dead-letters list` shows why."
                found.append(Matter("dead-letters", str(newest), text))
            if source_is_down:
                text = "The post source is down, and posts wait; `deadpan status` says more."
                found.append(Matter("source", "", text))
            notices.note(
                connection, found, looked_at=looked_at, targets=len(self._targets), now=now
            )

    def _source_is_down(self) -> bool | None:
        """Whether most workers say so, as the alert asks too; None where nobody says anything."""
        if self._intake is None:
            return None
        try:
            workers = self._intake.status()["workers"]
        except DeadpanError:
            return None
        said = [bool(each["source"].get("down")) for each in workers if each.get("source")]
        return sum(said) > len(said) / 2 if said else None

    def _send(self, notice: Notice, now: datetime) -> None:
        target = self._targets[notice.target]
        try:
            arrived = target.tell(_TITLE, notice.text)
        except Exception as error:
            # What a receiver's plug-in raises may quote its URL.
            log.warning("a notification failed unexpectedly", error=type(error).__name__)
            arrived = False
        with transaction(self._database) as connection:
            if arrived:
                notices.sent(connection, notice, now=now)
            else:
                left = RETRY_AFTER[notice.attempts - 1 :]
                retry_at = now + left[0] if left else None
                notices.not_sent(connection, notice, retry_at=retry_at, now=now)
        outcome = "sent" if arrived else "failed" if left else "given_up"
        metrics.NOTICES.labels(outcome).inc()
        note = log.info if arrived else log.warning
        note(
            f"notification {outcome.replace('_', ' ')}",
            kind=notice.kind,
            subject=notice.subject,
            target=target.name,
            attempts=notice.attempts,
        )

    def _link(self, path: str) -> str:
        return f" {self._console_url}{path}" if self._console_url else ""


def _flags(number: int) -> str:
    return "1 flag has been waiting" if number == 1 else f"{number:,} flags have been waiting"
