"""`deadpan demo`: the main job on embedded services, from RPUSH to flags in the console."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from console.people.links import FIRST_NAME, local_link
from deadpan.core.errors import AccessDenied, ConfigurationError, DeadpanError
from deadpan.core.settings import load
from deadpan.demo.platform import SamplePlatform
from deadpan.demo.table import Row, print_rows
from storage import tables
from storage.base.database import connect, transaction
from storage.flags import worklist
from storage.judging import queries
from storage.people import moderators, sessions
from tasks.intake.intake import Intake
from worker.checks import configuration_problems
from worker.local import folders
from worker.local.embedded import EmbeddedValkey, require_free_port
from worker.local.processes import ChildProcess, Interrupts, Running
from worker.local.services import (
    console_process,
    housekeeping_process,
    migrate_database,
    wait_until_ready,
    wait_until_served,
    worker_process,
)

OWN_POSTS = Path(__file__).parent / "posts.jsonl"

# Settings that the demo takes from the environment; all others are its own.
_KEPT_SETTINGS = (
    *("EXPLAIN", "MODEL", "POLICY", "DEVICE"),
    *("ENGINE", "OCR", "CHUNK_SIZE", "SLOTS", "LOG_LEVEL"),
)

_STALLED_SECONDS = 180.0
_MARKER = "demo"

Show = Callable[[Sequence[Row], dict[str, Any]], object]
"""Shows what became of every post, and a summary."""


def run_demo(
    *,
    posts: Path | None,
    folder: Path,
    picture: Path | None = None,
    show: Show | None = None,
    console_port: int | None = None,
) -> None:
    """Serve posts over HTTP, push their ids, and show what became of them.

    Args:
        posts: a JSONL file to serve instead of the demo's own posts.
        folder: emptied, then holds Valkey's data, the database, the evidence and the logs.
        picture: where to write the table as SVG.
        show: shows the results instead of the table, with nothing else said.
        console_port: serve the console there, show its link as soon as it answers, and stay until
            Ctrl-C; None ends when every post has an outcome.

    Raises:
        ConfigurationError: the folder or the port is in use.
        DeadpanError: a process ended, or nothing moved for minutes; with the end of its log.
    """
    began = time.monotonic()
    say = _Narrator(quiet=show is not None)
    folder = folder.resolve()
    if show is None:

        def show(rows: Sequence[Row], summary: dict[str, Any]) -> None:
            print_rows(rows, summary, folder=folder, picture=picture)

    if console_port is not None:
        require_free_port(console_port, "--port")
    with Interrupts(), Running() as running:
        running.enter_context(_emptied(folder))
        platform = running.enter_context(SamplePlatform(posts or OWN_POSTS))
        say(f"sample platform: {len(set(platform.post_ids))} posts at {platform.source}")
        valkey = running.enter_context(EmbeddedValkey(folder / "valkey"))
        environment = _environment(folder, valkey.url, platform.source)
        if posts is None:
            if importlib.util.find_spec("rapidocr"):
                # The demo's own memes are few; OCR would slow down a file of many posts.
                environment.setdefault("DEADPAN_OCR", "on")
            if console_port is not None:
                # So that the queue fills gradually while somebody looks at it.
                environment.setdefault("DEADPAN_CHUNK_SIZE", "8")
        # Now, rather than by a process that fails because of it half a minute later.
        if problems := configuration_problems(load(environment)):
            raise ConfigurationError(problems)
        migrate_database(environment["DEADPAN_DATABASE_URL"])
        database = connect(environment["DEADPAN_DATABASE_URL"])
        running.callback(database.dispose)
        say(f"embedded Valkey at {valkey.url}, SQLite in {folder / 'deadpan.db'}")
        console = link = None
        if console_port is not None:
            console = running.enter_context(
                console_process(environment, port=console_port, log_path=folder / "console.log")
            )
        worker = running.enter_context(worker_process(environment, log_path=folder / "worker.log"))
        intake = Intake.at(valkey.url)
        running.callback(intake.close)
        pushed = list(platform.post_ids)
        if console is not None and console_port is not None:
            # The ids wait in Redis until the worker is warm, and the console shows that they do.
            _push(pushed, intake, say)
            with say.waiting("starting the console"):
                wait_until_served(console, console_port)
            link = _Link(database, console_port)
            link.give()
        with say.waiting("starting a worker and warming the model"):
            wait_until_ready(worker, intake)
        if link is None:
            _push(pushed, intake, say)
        outcomes, seconds = _wait(pushed, database, worker, say, began)
        rows, summary, undecided = _results(platform, database, outcomes, seconds)
        if link is not None:
            # Ctrl-C from here on is how this ends, not a failure.
            with suppress(KeyboardInterrupt):
                show(rows, summary)
                running.enter_context(
                    housekeeping_process(environment, log_path=folder / "housekeeping.log")
                )
                link.give_again(undecided)
                while True:
                    time.sleep(1)
                    link.renew()
            return
    show(rows, summary)


class _Link:
    """The link to the console: given as soon as it works, and again below the table."""

    def __init__(self, database: Engine, port: int) -> None:
        self._database = database
        self._address = f"http://127.0.0.1:{port}"
        self._link = local_link(database, self._address)

    def give(self) -> None:
        """Say where the console is, before there is anything in it."""
        self._tell(
            "Open this link to sign in (it works once); the queue fills while posts are judged:",
            self._link,
        )

    def give_again(self, undecided: int) -> None:
        """Say it once more, with the number of flags to decide."""
        flags = f"Now decide: {undecided} flag{'s' if undecided != 1 else ''} in the queue."
        if self._is_used():
            self._tell(f"{flags} The console, in the browser that is signed in:", self._address)
        else:
            self._tell(f"{flags} Open this link to sign in (it works once):", self._link)
        _write("Ctrl-C stops everything.\n")

    def renew(self) -> None:
        """Give a new link to whoever signed out: there is no password to come back with."""
        if self._is_used() and not self._is_signed_in():
            self._link = local_link(self._database, self._address)
            self._tell("You signed out. This link signs you in again, once:", self._link)

    def _is_signed_in(self) -> bool:
        with transaction(self._database, read_only=True) as connection:
            return bool(sessions.living(connection, moderators.by_name(connection, FIRST_NAME)))

    def _is_used(self) -> bool:
        with transaction(self._database, read_only=True) as connection:
            try:
                sessions.look_at_link(connection, self._link.partition("token=")[2])
            except AccessDenied:
                return True
        return False

    @staticmethod
    def _tell(words: str, link: str) -> None:
        _write(f"\n{words}\n\n  {link}\n\n")


def _write(words: str) -> None:
    # Not with rich, which would break a link at the terminal's edge.
    sys.stdout.write(words)
    sys.stdout.flush()


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """The demo's folder, emptied and locked; refuses a folder that is not a demo's."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigurationError(
            f"--folder {folder} holds other files; give a folder that does not exist yet"
        )
    with folders.held(folder, _MARKER):
        folders.empty(folder, _MARKER)
        yield


def _environment(folder: Path, redis_url: str, source: str) -> dict[str, str]:
    kept = {f"DEADPAN_{name}" for name in _KEPT_SETTINGS}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DEADPAN_") or name in kept
    }
    return environment | {
        "DEADPAN_REDIS_URL": redis_url,
        "DEADPAN_DATABASE_URL": f"sqlite:///{folder / 'deadpan.db'}",
        "DEADPAN_EVIDENCE_URL": str(folder / "evidence"),
        "DEADPAN_SOURCE": source,
        "DEADPAN_SECRET_KEY": secrets.token_urlsafe(48),
        # The sample platform's pictures are on this machine; nothing else private is allowed.
        "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
    }


def _push(pushed: Sequence[str], intake: Intake, say: _Narrator) -> None:
    """Push the ids as any producer would."""
    say(f"RPUSH {intake.list_key('normal')} {' '.join(pushed[:3])} … ({len(pushed)} ids)")
    with intake.answering():
        for post_id in pushed:
            intake.client.rpush(intake.list_key("normal"), post_id)


def _wait(
    pushed: Sequence[str], database: Engine, worker: ChildProcess, say: _Narrator, began: float
) -> tuple[dict[str, str], float]:
    """Wait until each id has an outcome; returns outcomes by id, and the seconds it took."""
    outcomes: dict[str, str] = {}
    waiting = set(pushed)
    first_verdict_at = None
    moved = started = time.monotonic()
    with say.progress(len(waiting)) as advance:
        while waiting:
            with transaction(database, read_only=True) as connection:
                known = queries.outcome_of(connection, sorted(waiting))
            now = time.monotonic()
            if known:
                outcomes |= known
                waiting -= known.keys()
                moved = now
                if first_verdict_at is None and "judged" in known.values():
                    first_verdict_at = now
                advance(len(outcomes))
            elif worker.exit_code == 2 or now - moved > _STALLED_SECONDS:
                raise DeadpanError(
                    f"{len(waiting)} posts have no outcome, and nothing has moved for "
                    f"{now - moved:.0f} seconds; the end of the worker's log:\n"
                    f"{worker.last_words()}"
                )
            time.sleep(0.05)
    if first_verdict_at is not None:
        say(f"first verdict {first_verdict_at - began:.1f} seconds after the start")
    return outcomes, time.monotonic() - started


def _results(
    platform: SamplePlatform, database: Engine, outcomes: dict[str, str], seconds: float
) -> tuple[list[Row], dict[str, Any], int]:
    """A row a post, a summary, and the number of flags not decided yet."""
    ids = list(dict.fromkeys(platform.post_ids))
    with transaction(database, read_only=True) as connection:
        verdicts = queries.verdicts_of(connection, ids)
        every = worklist.Filter(tables.FLAG_STATES)
        flags = {
            flag.post_id: flag for flag in worklist.page(connection, every, limit=len(ids) + 1)
        }
        letters = {
            letter.post_id: f"{letter.stage}: {letter.error}"
            for letter in queries.dead_letters(connection, limit=len(ids) + 1)
        }
    rows = [
        Row(
            post_id=post_id,
            about=platform.notes.get(post_id, ""),
            outcome=outcomes[post_id],
            verdict=verdicts.get(post_id),
            reasons=tuple(flags[post_id].reasons) if post_id in flags else (),
            error=letters.get(post_id, ""),
        )
        for post_id in ids
    ]
    became = list(outcomes.values())
    summary = {
        "posts": len(became),
        "judged": became.count("judged"),
        "degraded": sum(bool(verdict.degraded) for verdict in verdicts.values()),
        "gone": became.count("gone"),
        "dead_letters": became.count("dead_letter"),
        "flags": len(flags),
        "seconds": round(seconds, 2),
        "posts_per_second": round(len(became) / seconds, 1),
    }
    summary |= _scores(
        [
            (labels["sentiment"], verdicts[post_id].sentiment)
            for post_id, labels in platform.labels.items()
            if labels.get("sentiment") and post_id in verdicts
        ]
    )
    # Somebody may have decided some of them meanwhile.
    return rows, summary, sum(flag.state in tables.UNCLOSED_STATES for flag in flags.values())


def _scores(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Accuracy and macro F1 of labels and verdicts; empty without labels."""
    if not pairs:
        return {}
    import numpy as np

    from models.evaluation.metrics import measure
    from models.posts.prediction import SENTIMENTS

    wanted = [SENTIMENTS.index(label) for label, _ in pairs]
    said = [SENTIMENTS.index(sentiment) for _, sentiment in pairs]
    measured = measure(np.eye(len(SENTIMENTS))[said], wanted, SENTIMENTS, resamples=0)
    assert measured is not None
    return {name: round(measured[name]["value"], 4) for name in ("accuracy", "macro_f1")}


class _Narrator:
    """Says what happens: on a terminal with progress, elsewhere in plain lines, or not at all."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    def __call__(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show that something takes a while."""
        if self._console.is_terminal:
            with self._console.status(what):
                yield
        else:
            self(f"{what} …")
            yield

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """Show how many posts have an outcome; gives a function that takes the number."""
        if not self._console.is_terminal:
            yield lambda done: self(f"{done} of {total} posts have an outcome")
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

        bars = Progress(
            "judging", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=self._console
        )
        with bars:
            task = bars.add_task("posts", total=total)
            yield lambda done: bars.update(task, completed=done)
