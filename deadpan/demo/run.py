"""`deadpan demo`: the main job on embedded services, from RPUSH to flags in the console."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from console.people.links import FIRST_NAME, local_link
from deadpan.commands.output import print_json
from deadpan.core.errors import AccessDenied, ConfigurationError, DeadpanError
from deadpan.core.settings import load
from deadpan.demo.platform import SamplePlatform
from deadpan.demo.table import Row, print_rows
from storage import tables
from storage.base.database import connect, transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.people import moderators, sessions
from tasks.intake.intake import Intake
from worker.checks import configuration_problems
from worker.local import folders
from worker.local.embedded import EmbeddedValkey, require_free_port
from worker.local.local import (
    console_process,
    housekeeping_process,
    migrate_database,
    wait_until_ready,
    wait_until_served,
    worker_process,
)
from worker.local.processes import ChildProcess, Interrupts, Running

OWN_POSTS = Path(__file__).parent / "posts.jsonl"

# What a person may vary about the demo; every other setting is the demo's own.
_KEPT_SETTINGS = (
    "EXPLAIN",
    "EXPLAIN_UP_TO",
    "MODEL",
    "POLICY",
    "DEVICE",
    "ENGINE",
    "OCR",
    "CHUNK_SIZE",
    "SLOTS",
    "LOG_LEVEL",
)

_STALLED_SECONDS = 180.0
_MARKER = "demo"


@dataclass(slots=True)
class Result:
    """What became of the demo's posts."""

    outcomes: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, tables.Verdict] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)
    flags: int = 0
    waiting: int = 0
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    first_verdict_seconds: float | None = None


def run_demo(
    *,
    posts: Path | None,
    folder: Path,
    picture: Path | None,
    as_json: bool,
    console_port: int | None = None,
) -> None:
    """Serve posts over HTTP, push their ids, and show what became of them.

    Args:
        posts: a JSONL file to serve instead of the demo's own posts.
        folder: emptied, then holds Valkey's data, the database, the evidence and the logs.
        picture: where to write the table as SVG.
        console_port: serve the console there, give its link as soon as it answers, and stay until
            Ctrl-C; None ends when every post has an outcome.

    Raises:
        ConfigurationError: the folder or the port cannot be taken.
        DeadpanError: a process ended, or nothing moved for minutes; with the end of its log.
    """
    began = time.monotonic()
    say = _Narrator(quiet=as_json)
    folder = folder.resolve()
    if console_port is not None:
        require_free_port(console_port, "--port")
    with Interrupts(), Running() as running:
        running.enter_context(_emptied(folder))
        platform = running.enter_context(SamplePlatform(posts or OWN_POSTS))
        say(f"sample platform: {len(set(platform.post_ids))} posts at {platform.source}")
        valkey = running.enter_context(EmbeddedValkey(folder / "valkey"))
        environment = _environment(folder, valkey.url, platform.source)
        if posts is None and importlib.util.find_spec("rapidocr_onnxruntime"):
            # The demo's own memes are few; a file of many posts is a matter of throughput.
            environment.setdefault("DEADPAN_OCR", "on")
        # Here and not by a process that ends for it half a minute later.
        if problems := configuration_problems(load(environment)):
            raise ConfigurationError(problems)
        migrate_database(environment["DEADPAN_DATABASE_URL"])
        database = connect(environment["DEADPAN_DATABASE_URL"])
        running.callback(database.dispose)
        say(f"embedded Valkey at {valkey.url}, SQLite in {folder / 'deadpan.db'}")
        console = link = None
        if console_port is not None:
            if posts is None:
                # So that the queue fills while somebody looks at it, and not with all at the end.
                environment.setdefault("DEADPAN_CHUNK_SIZE", "8")
            console = running.enter_context(
                console_process(environment, port=console_port, log_path=folder / "console.log")
            )
        worker = running.enter_context(worker_process(environment, log_path=folder / "worker.log"))
        intake = Intake.at(valkey.url)
        running.callback(intake.close)
        pushed = list(platform.post_ids)
        if console is not None and console_port is not None:
            # The ids wait in Redis until the worker is warm, and the console says that they do.
            _push(pushed, intake, say)
            with say.waiting("starting the console"):
                wait_until_served(console, console_port)
            link = _Link(database, console_port)
            link.give()
        with say.waiting("starting a worker and warming the model"):
            wait_until_ready(worker, intake)
        if link is None:
            _push(pushed, intake, say)
        result = _wait(pushed, database, worker, say)
        if result.first_verdict_seconds is not None:
            say(f"first verdict {result.first_verdict_seconds - began:.1f} seconds after the start")
        _read_results(platform, database, result)
        if link is not None:
            # Whoever presses Ctrl-C from here on is done: that is how this ends, not a failure.
            with suppress(KeyboardInterrupt):
                _show(platform, result, as_json=as_json, folder=folder, picture=picture)
                running.enter_context(
                    housekeeping_process(environment, log_path=folder / "housekeeping.log")
                )
                link.give_again(result.waiting)
                while True:
                    time.sleep(1)
                    link.renew()
            return
    _show(platform, result, as_json=as_json, folder=folder, picture=picture)


def _show(
    platform: SamplePlatform, result: Result, *, as_json: bool, folder: Path, picture: Path | None
) -> None:
    summary = _summary(platform, result)
    if as_json:
        print_json(summary)
    else:
        print_rows(result.rows, summary, folder=folder, picture=picture)


class _Link:
    """The link into the console: given as soon as it is of use, and again below the table."""

    def __init__(self, database: Engine, port: int) -> None:
        self._database = database
        self._address = f"http://127.0.0.1:{port}"
        self._link = local_link(database, self._address)

    def give(self) -> None:
        """Tell where the console is, before there is anything in it."""
        self._tell(
            "Open this link, it signs you in once; the queue fills while the posts are judged:",
            self._link,
        )

    def give_again(self, waiting: int) -> None:
        """Tell it once more; `waiting` flags are not decided yet."""
        flags = f"Now decide: {waiting} flag{'s' if waiting != 1 else ''} in the queue."
        if self._is_used():
            self._tell(f"{flags} The console, in the browser that is signed in:", self._address)
        else:
            self._tell(f"{flags} Open this link, it signs you in once:", self._link)
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
    # Not through rich, which would break a link where the terminal ends.
    sys.stdout.write(words)
    sys.stdout.flush()


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """The demo's folder, empty and held; refuses to empty a folder that a demo has not made."""
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
        # The sample platform's pictures are on this machine; nothing else private is opened.
        "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
    }


def _push(pushed: Sequence[str], intake: Intake, say: _Narrator) -> None:
    """Push the ids as any producer would."""
    say(f"RPUSH {intake.list_key('normal')} {' '.join(pushed[:3])} … ({len(pushed)} ids)")
    with intake.answering():
        for post_id in pushed:
            intake.client.rpush(intake.list_key("normal"), post_id)


def _wait(pushed: Sequence[str], database: Engine, worker: ChildProcess, say: _Narrator) -> Result:
    """Wait until each of the ids has an outcome."""
    result = Result()
    waiting = set(pushed)
    started = time.monotonic()
    moved = started
    with say.progress(len(waiting)) as advance:
        while waiting:
            with transaction(database, read_only=True) as connection:
                known = queries.outcome_of(connection, sorted(waiting))
            now = time.monotonic()
            if known:
                result.outcomes |= known
                waiting -= known.keys()
                moved = now
                if result.first_verdict_seconds is None and "judged" in known.values():
                    result.first_verdict_seconds = now
                advance(len(result.outcomes))
            elif worker.exit_code == 2 or now - moved > _STALLED_SECONDS:
                raise DeadpanError(
                    f"{len(waiting)} posts have no outcome, and nothing moved for "
                    f"{now - moved:.0f} seconds; the worker's last words:\n{worker.last_words()}"
                )
            time.sleep(0.05)
    result.seconds = time.monotonic() - started
    return result


def _read_results(platform: SamplePlatform, database: Engine, result: Result) -> None:
    ids = list(dict.fromkeys(platform.post_ids))
    with transaction(database, read_only=True) as connection:
        result.verdicts = queries.verdicts_of(connection, ids)
        flags = {
            flag.post_id: flag
            for flag in worklist.page(connection, Filter(tables.FLAG_STATES), limit=len(ids) + 1)
        }
        result.flags = len(flags)
        # Somebody may have decided some of them meanwhile.
        result.waiting = sum(flag.state in tables.UNCLOSED_STATES for flag in flags.values())
        result.letters = {
            letter.post_id: f"{letter.stage}: {letter.error}"
            for letter in queries.dead_letters(connection, limit=len(ids) + 1)
        }
    for post_id in ids:
        flag = flags.get(post_id)
        result.rows.append(
            Row(
                post_id=post_id,
                about=platform.notes.get(post_id, ""),
                outcome=result.outcomes[post_id],
                verdict=result.verdicts.get(post_id),
                reasons=tuple(flag.reasons) if flag else (),
                error=result.letters.get(post_id, ""),
            )
        )


def _summary(platform: SamplePlatform, result: Result) -> dict[str, Any]:
    outcomes = list(result.outcomes.values())
    summary: dict[str, Any] = {
        "posts": len(outcomes),
        "judged": outcomes.count("judged"),
        "degraded": sum(bool(verdict.degraded) for verdict in result.verdicts.values()),
        "gone": outcomes.count("gone"),
        "dead_letters": outcomes.count("dead_letter"),
        "flags": result.flags,
        "seconds": round(result.seconds, 2),
        "posts_per_second": round(len(outcomes) / result.seconds, 1),
    }
    labelled = {
        post_id: labels["sentiment"]
        for post_id, labels in platform.labels.items()
        if labels.get("sentiment") and post_id in result.verdicts
    }
    if labelled:
        import numpy as np

        from models.evaluation.metrics import measure
        from models.posts.prediction import SENTIMENTS

        wanted = [SENTIMENTS.index(label) for label in labelled.values()]
        said = [SENTIMENTS.index(result.verdicts[post_id].sentiment) for post_id in labelled]
        measured = measure(np.eye(len(SENTIMENTS))[said], wanted, SENTIMENTS, resamples=0)
        assert measured is not None
        summary |= {name: round(measured[name]["value"], 4) for name in ("accuracy", "macro_f1")}
    return summary


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
        """Show how many of the posts have an outcome; gives a function that takes the number."""
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
