"""`deadpan enqueue`: a few ids, or a backfill of millions from a file or a query."""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deadpan.commands.output import AsJson, answer
from deadpan.commands.services import opened_intake
from deadpan.core import spans
from deadpan.core.errors import ConfigurationError, DeadpanError
from deadpan.core.settings import load, without_password

if TYPE_CHECKING:
    from sources.ids import IdSource
    from tasks.intake.backfill import Progress
    from tasks.intake.intake import Intake
    from tasks.intake.keys import Priority

ROOM = 100_000
"""Ids that may wait by default: some minutes of work, and a few megabytes of Redis."""


def enqueue(
    post_ids: Annotated[
        list[str] | None, typer.Argument(help="Post ids; - reads standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file with one id a line, plain or gzipped.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="A query that returns post ids; needs a database.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="URL for --query; default DEADPAN_SOURCE_DATABASE_URL.")
    ] = None,
    priority: Annotated[str, typer.Option(help="high, normal or low.")] = "normal",
    rate: Annotated[
        str | None, typer.Option(help="At most this fast: 200/s, 5000/min, 1000000/h.")
    ] = None,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="Pause while more ids than this wait; 0 for no limit.")
    ] = ROOM,
    name: Annotated[
        str | None,
        typer.Option(help="Saves progress under this name; files and queries have one already."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over instead of resuming.")
    ] = False,
    traceparent: Annotated[
        str | None, typer.Option(help="The trace of ids on the command line (W3C Trace Context).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push post ids onto the intake.

    Ids from a file, a query or standard input are pushed at a chosen pace, with progress shown; if
    that is interrupted, run it again to resume.
    """
    from tasks.intake.keys import PRIORITIES
    from tasks.intake.producer import given

    ids = list(post_ids or [])
    if sum([bool(ids), file is not None, query is not None]) != 1:
        raise ConfigurationError("give post ids, - for standard input, --file or --query; only one")
    if priority not in PRIORITIES:
        raise ConfigurationError(f"--priority is {priority!r}; use one of {', '.join(PRIORITIES)}")
    if database is not None and query is None:
        raise ConfigurationError("--database only works with --query; give that too")
    trace = given(traceparent, "--traceparent")
    spans.start(load().traces, "enqueue")
    try:
        with opened_intake() as intake:
            if not ids or ids == ["-"]:
                if trace is not None:
                    raise ConfigurationError(
                        "--traceparent only works with ids on the command line; in a backfill, "
                        "each id has a trace of its own"
                    )
                source, named = _source(file, query, database)
                _backfill(
                    intake,
                    source,
                    name or named,
                    priority,
                    rate,
                    max_waiting,
                    restart=restart,
                    as_json=as_json,
                )
                return
            if rate is not None or name is not None or restart:
                raise ConfigurationError(
                    "--rate, --name and --restart only work with --file, --query and -"
                )
            pushed = intake.enqueue(ids, priority, trace=trace)
    finally:
        spans.stop()
    told = {"pushed": pushed, "priority": priority}
    answer(told, f"pushed {pushed} post ids with {priority} priority", as_json=as_json)


def _source(file: Path | None, query: str | None, database: str | None) -> tuple[IdSource, str]:
    """Where the ids are, and the name that progress is saved under; standard input has none."""
    from sources.id_query import IdQuery
    from sources.ids import IdFile

    if query is None:
        return IdFile(file), f"file {file.resolve()}" if file else ""
    secret = load().source_database_url
    url = database or (secret.get_secret_value() if secret else None)
    if not url:
        raise ConfigurationError(
            "--query needs a database; give --database or set DEADPAN_SOURCE_DATABASE_URL"
        )
    both = f"{without_password(url)} {query}".encode()
    return IdQuery(url, query), f"query {hashlib.blake2b(both, digest_size=8).hexdigest()}"


def _backfill(
    intake: Intake,
    source: IdSource,
    name: str,
    priority: Priority,
    rate: str | None,
    max_waiting: int,
    *,
    restart: bool,
    as_json: bool,
) -> None:
    from deadpan.commands.backfill_progress import shown_progress
    from tasks.intake.backfill import Backfill
    from tasks.intake.rate import rate_of
    from worker.local.processes import Interrupts

    per_second = None if rate is None else rate_of(rate)
    with Interrupts(), shown_progress(source.unit, as_json=as_json) as shown:
        backfill = Backfill(
            intake,
            source,
            name=name,
            priority=priority,
            per_second=per_second,
            max_waiting=max_waiting,
            told=shown.tell,
            skipped=shown.skipped,
        )
        try:
            if restart:
                backfill.forget()
            done = backfill.run()
        except KeyboardInterrupt:
            shown.close()
            sys.stderr.write(f"interrupted after {backfill.progress().pushed:,} post ids\n")
            sys.stderr.write(_how_to_resume(can_resume=bool(name)))
            raise typer.Exit(1) from None
        except DeadpanError:
            shown.close()
            if pushed := backfill.progress().pushed:
                sys.stderr.write(f"{pushed:,} post ids were pushed\n")
            raise
    told = {
        "pushed": done.pushed,
        "before": done.before,
        "skipped": done.skipped,
        "priority": priority,
        "seconds": round(done.seconds, 1),
    }
    answer(told, _done_in_words(done, priority, source.unit), as_json=as_json)


def _done_in_words(done: Progress, priority: str, unit: str) -> str:
    earlier = f", after {done.before} by earlier runs" if done.before else ""
    words = f"pushed {done.pushed} post ids with {priority} priority{earlier}"
    if skipped := sum(done.skipped.values()):
        kinds = ", ".join(f"{count} {kind}" for kind, count in done.skipped.items() if count)
        words += f"\nskipped {skipped} {unit}s: {kinds}"
    return words


def _how_to_resume(*, can_resume: bool) -> str:
    if not can_resume:
        return "standard input cannot be resumed, unless it has a --name and is sent again\n"
    # Without --restart, which would start over, and without a password.
    kept = [argument for argument in sys.argv[1:] if argument != "--restart"]
    command = ["deadpan", *(without_password(a) if "://" in a else a for a in kept)]
    return f"to resume, run it again:  {shlex.join(command)}\n"
