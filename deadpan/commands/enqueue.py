"""`deadpan enqueue`: a few ids, or a backfill of millions from a file or a query."""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from deadpan.commands.output import AsJson, print_json
from deadpan.core.errors import ConfigurationError, DeadpanError
from deadpan.core.settings import Settings, load, without_password

if TYPE_CHECKING:
    from tasks.intake.intake import Intake, Priority

ROOM = 100_000
"""By default so many ids may wait: some minutes of work, and a few megabytes of Redis."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(enqueue)


def enqueue(
    post_ids: Annotated[list[str] | None, typer.Argument(help="Post ids; - reads them.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file with one id a line, plain or gzipped.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="A query that gives post ids; needs a database.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="URL for --query; DEADPAN_SOURCE_DATABASE_URL when left out."),
    ] = None,
    priority: Annotated[str, typer.Option(help="high, normal or low.")] = "normal",
    rate: Annotated[
        str | None, typer.Option(help="At most so many, as in 200/s, 5000/min, 1000000/h.")
    ] = None,
    max_waiting: Annotated[
        int,
        typer.Option(min=0, help="Push while no more ids wait than this; 0 for no limit."),
    ] = ROOM,
    name: Annotated[
        str | None,
        typer.Option(help="Keeps its place under this name; a file and a query have one."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the start, wherever the run before ended.")
    ] = False,
    traceparent: Annotated[
        str | None, typer.Option(help="The trace that a few ids belong to (W3C Trace Context).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push post ids onto the intake.

    Many, from a file, a query or standard input, are pushed at a pace and with progress; run
    again after an interruption, it goes on where it ended.
    """
    from deadpan.core import spans
    from tasks.intake.intake import PRIORITIES, Intake
    from tasks.intake.pushes import given

    ids = list(post_ids or [])
    if sum([bool(ids), file is not None, query is not None]) != 1:
        raise ConfigurationError("give post ids, or - to read them, or --file, or --query; one")
    if priority not in PRIORITIES:
        raise ConfigurationError(f"--priority is {priority!r}; use one of {', '.join(PRIORITIES)}")
    if database is not None and query is None:
        raise ConfigurationError("--database is for --query; give that too")
    trace = given(traceparent, "--traceparent")
    settings = load()
    spans.start(settings.traces, "enqueue")
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        if not ids or ids == ["-"]:
            if trace is not None:
                raise ConfigurationError(
                    "--traceparent is for ids on the command line; of many, each has its own trace"
                )
            source = _Source(file, query, database, name, settings)
            _backfill(intake, source, priority, rate, max_waiting, restart, as_json=as_json)
            return
        if rate is not None or name is not None or restart:
            raise ConfigurationError("--rate, --name and --restart are for --file, --query and -")
        pushed = intake.enqueue(ids, priority, trace=trace)
    finally:
        intake.close()
        spans.stop()
    if as_json:
        print_json({"pushed": pushed, "priority": priority})
    else:
        typer.echo(f"pushed {pushed} post ids with {priority} priority")


class _Source:
    """What is read, and the name that its place is kept under."""

    def __init__(
        self,
        file: Path | None,
        query: str | None,
        database: str | None,
        name: str | None,
        settings: Settings,
    ) -> None:
        from sources.id_query import IdQuery
        from sources.ids import IdFile, IdSource

        self.source: IdSource
        if query is None:
            self.source = IdFile(file)
            self.name = name or (f"file {file.resolve()}" if file else "")
            return
        secret = settings.source_database_url
        url = database or (secret.get_secret_value() if secret else None)
        if not url:
            raise ConfigurationError(
                "--query needs a database; give --database or set DEADPAN_SOURCE_DATABASE_URL"
            )
        self.source = IdQuery(url, query)
        both = f"{without_password(url)} {query}".encode()
        self.name = name or f"query {hashlib.blake2b(both, digest_size=8).hexdigest()}"


def _backfill(
    intake: Intake,
    reading: _Source,
    priority: str,
    rate: str | None,
    max_waiting: int,
    restart: bool,
    *,
    as_json: bool,
) -> None:
    from deadpan.commands.backfill_progress import shown_progress
    from tasks.intake.backfill import Backfill
    from tasks.intake.rate import rate_of
    from worker.local.processes import Interrupts

    per_second = None if rate is None else rate_of(rate)
    with Interrupts(), shown_progress(reading.source.unit, as_json=as_json) as shown:
        backfill = Backfill(
            intake,
            reading.source,
            name=reading.name,
            priority=cast("Priority", priority),
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
            _interrupted(backfill.progress().pushed, goes_on=bool(reading.name))
            raise typer.Exit(1) from None
        except DeadpanError:
            shown.close()
            pushed = backfill.progress().pushed
            if pushed:
                sys.stderr.write(f"{pushed:,} post ids were pushed\n")
            raise
    if as_json:
        print_json(
            {
                "pushed": done.pushed,
                "before": done.before,
                "skipped": done.skipped,
                "priority": priority,
                "seconds": round(done.seconds, 1),
            }
        )
        return
    earlier = f", after {done.before} by the runs before" if done.before else ""
    typer.echo(f"pushed {done.pushed} post ids with {priority} priority{earlier}")
    if skipped := sum(done.skipped.values()):
        kinds = ", ".join(f"{count} {kind}" for kind, count in done.skipped.items() if count)
        typer.echo(f"skipped {skipped} {reading.source.unit}s: {kinds}")


def _interrupted(pushed: int, *, goes_on: bool) -> None:
    sys.stderr.write(f"interrupted after {pushed:,} post ids\n")
    if not goes_on:
        sys.stderr.write(
            "standard input cannot be gone on with, unless it has a --name and comes again\n"
        )
        return
    sys.stderr.write(f"to go on from there, run it again:  {_same_command(sys.argv[1:])}\n")


def _same_command(arguments: list[str]) -> str:
    """Without --restart, which would begin anew, and without a password."""
    kept = [argument for argument in arguments if argument != "--restart"]
    return shlex.join(["deadpan", *(without_password(a) if "://" in a else a for a in kept)])
