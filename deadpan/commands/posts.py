"""Commands about posts: enqueue, status, dead-letters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.errors import ConfigurationError
from deadpan.settings import Settings, load


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(enqueue)
    app.command()(status)
    app.add_typer(dead_letters, name="dead-letters")


def enqueue(
    post_ids: Annotated[list[str] | None, typer.Argument(help="Post ids; - reads them.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one id a line.")] = None,
    priority: Annotated[str, typer.Option(help="high, normal or low.")] = "normal",
    as_json: AsJson = False,
) -> None:
    """Push post ids onto the intake."""
    from tasks.intake import PRIORITIES, Intake

    ids = list(post_ids or [])
    if bool(ids) == bool(file):
        raise ConfigurationError("give post ids, or - to read them, or --file; one of them")
    if priority not in PRIORITIES:
        raise ConfigurationError(f"--priority is {priority!r}; use one of {', '.join(PRIORITIES)}")
    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        # An id is bytes; what is not UTF-8 is passed on as it is and refused by name.
        source = _lines(file) if file or ids == ["-"] else iter(ids)
        pushed = intake.enqueue(source, priority)
    finally:
        intake.close()
    if as_json:
        print_json({"pushed": pushed, "priority": priority})
    else:
        typer.echo(f"pushed {pushed} post ids with {priority} priority")


def _lines(file: Path | None) -> Iterator[str]:
    try:
        stream = file.open("rb") if file else sys.stdin.buffer
    except OSError as error:
        raise ConfigurationError(f"--file {file} cannot be read: {error.strerror}") from None
    with stream:
        for line in stream:
            if stripped := line.strip(b"\r\n"):
                yield stripped.decode("utf-8", "surrogateescape")


def status(as_json: AsJson = False) -> None:
    """Show what waits, what was judged and who works."""
    from dataclasses import asdict

    from storage import outbox, queries
    from storage.database import connect, transaction
    from storage.schema import require_schema
    from tasks.arrivals import read_scaling, read_signal
    from tasks.intake import Intake

    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    database = connect(settings.database_url.get_secret_value())
    try:
        waiting = intake.status()
        ready = sum(bool(worker["ready"]) for worker in waiting["workers"])
        signal = read_signal(intake, ready=ready)
        scaling = read_scaling(intake)
        require_schema(database)
        with transaction(database, read_only=True) as connection:
            written = asdict(queries.counts(connection))
            untold = outbox.backlog(connection)
    finally:
        intake.close()
        database.dispose()
    drain = signal.drain_seconds
    told = {
        **waiting,
        "oldest_age_seconds": round(signal.oldest_age_seconds, 1),
        "posts_per_second": round(signal.posts_per_second, 1),
        "drain_seconds": None if drain is None else round(drain, 1),
        "workers_desired": scaling and scaling["desired"],
        **written,
        "callbacks": {"pending": untold.pending, "parked": untold.parked},
    }
    if as_json:
        print_json(told)
        return
    intake_text = ", ".join(f"{n} {priority}" for priority, n in told["intake"].items())
    flags = ", ".join(f"{n} {state}" for state, n in told["flags"].items()) or "none"
    oldest = (
        f"; the oldest for {signal.oldest_age_seconds:.0f} s" if signal.oldest_age_seconds else ""
    )
    typer.echo(f"intake        {intake_text}{oldest}")
    if any(told["intake"].values()):
        left = "it grows" if drain is None else f"empty in {drain:.0f} s"
        typer.echo(f"pace          {signal.posts_per_second:.1f} posts a second; {left}")
    typer.echo(f"chunks        {told['chunks']} in hand, {told['retries']} posts to be tried again")
    typer.echo(f"verdicts      {told['verdicts']}")
    typer.echo(f"flags         {flags}")
    typer.echo(f"gone          {told['gone']}")
    typer.echo(f"dead letters  {told['dead_letters']}")
    typer.echo(f"callbacks     {untold.pending} pending, {untold.parked} parked")
    if scaling:
        typer.echo(f"wanted        {scaling['desired']} workers, {scaling['why']}")
    for worker in told["workers"]:
        state = "ready" if worker["ready"] else "not ready"
        typer.echo(f"worker        {worker['name']}, {state}, model {worker['model']}")
    if not told["workers"]:
        typer.echo("worker        none; start one with `deadpan worker`")


dead_letters = typer.Typer(
    help="Posts that could not be judged: list them, replay them.", no_args_is_help=True
)


@dead_letters.command("list")
def list_dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List posts that could not be judged, the newest first."""
    from storage import queries

    with on_database(load(), read_only=True) as connection:
        rows = [
            {
                "id": letter.id,
                "post_id": letter.post_id,
                "stage": letter.stage,
                "error": letter.error,
                "attempts": letter.attempts,
                "created_at": letter.created_at.isoformat(),
            }
            for letter in queries.dead_letters(connection, limit=limit)
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ["id", "post_id", "stage", "attempts", "error"], empty="no dead letters")


@dead_letters.command("replay")
def replay_dead_letters(
    ids: Annotated[list[int], typer.Argument(help="Ids of dead letters, as `list` shows them.")],
    as_json: AsJson = False,
) -> None:
    """Push the posts of dead letters onto the intake again."""
    from tasks.intake import Intake
    from tasks.replay import replay

    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        with on_database(settings) as connection:
            replayed = replay(connection, ids, intake)
    finally:
        intake.close()
    if as_json:
        print_json({"replayed": replayed})
    else:
        typer.echo(f"pushed {len(replayed)} post ids again")


def on_database(settings: Settings, *, read_only: bool = False) -> Any:
    """A transaction on the database of the settings; closes everything at its end."""
    from contextlib import contextmanager

    from storage.database import connect, transaction
    from storage.schema import require_schema

    @contextmanager
    def opened() -> Iterator[Any]:
        database = connect(settings.database_url.get_secret_value())
        try:
            require_schema(database)
            with transaction(database, read_only=read_only) as connection:
                yield connection
        finally:
            database.dispose()

    return opened()
