"""Commands about dead letters: list them, replay them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import Settings, load

if TYPE_CHECKING:
    from storage.judging.dead_letters import Wanted

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(dead_letters, name="dead-letters")


dead_letters = typer.Typer(
    help="Posts that could not be judged: list them, replay them.", no_args_is_help=True
)


@dead_letters.command("list")
def list_dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List posts that could not be judged, the newest first."""
    from storage.judging import queries

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
    ids: Annotated[
        list[int] | None, typer.Argument(help="Ids of dead letters, as `list` shows them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that wait, or those that the options below name.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(help="With --all: those that failed in this stage.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --all: those that failed since then; 2h, 3d, or a day or moment."),
    ] = None,
    error: Annotated[
        str | None, typer.Option(help="With --all: those whose error holds this text.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --all: only count them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push the posts of dead letters onto the intake again.

    With --all they are pushed a thousand at a time; run again after an interruption, it goes on
    with those that are left.
    """
    from storage.judging.dead_letters import Wanted

    narrowed = {"--stage": stage, "--since": since, "--error": error, "--dry-run": dry_run or None}
    given = [name for name, value in narrowed.items() if value is not None]
    if given and not everything:
        raise ConfigurationError(f"{given[0]} narrows --all down; give --all as well")
    if bool(ids) == everything:
        raise ConfigurationError("give ids of dead letters, or --all; one of them")
    if not ids:
        wanted = Wanted(stage, since_of(since, datetime.now(UTC)) if since else None, error)
        _replay_all(wanted, dry_run=dry_run, as_json=as_json)
        return
    from storage.people import audit
    from tasks.intake.intake import Intake
    from tasks.intake.replay import replay

    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        with on_database(settings) as connection:
            replayed = replay(connection, ids, intake)
            for letter_id in sorted(set(ids)):
                subject = f"dead letter {letter_id}"
                audit.write(connection, audit.COMMAND_LINE, "dead-letter.replay", subject)
    finally:
        intake.close()
    if as_json:
        print_json({"replayed": replayed})
    else:
        typer.echo(f"pushed {len(replayed)} post ids again")


def _replay_all(wanted: Wanted, *, dry_run: bool, as_json: bool) -> None:
    from storage.base.database import connect
    from storage.migrations.schema import require_schema
    from storage.people import audit
    from tasks.intake.intake import Intake
    from tasks.intake.replay import replay_all

    def say(done: int, total: int) -> None:
        if not as_json and not dry_run and total > done:
            typer.echo(f"{done} of {total} dead letters", err=True)

    settings = load()
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    database = connect(settings.database_url.get_secret_value())
    try:
        require_schema(database)
        done = replay_all(
            database, intake, wanted, actor=audit.COMMAND_LINE, dry_run=dry_run, said=say
        )
    finally:
        database.dispose()
        intake.close()
    left_out = dict(sorted(done.left_out.items()))
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "matched": done.matched,
                "by_stage": done.by_stage,
                "replayed": done.pushed,
                "left_out": left_out,
            }
        )
        return
    stages = ", ".join(f"{stage} {number}" for stage, number in done.by_stage.items())
    typer.echo(f"{done.matched} dead letters match{f' ({stages})' if stages else ''}")
    for why, number in left_out.items():
        typer.echo(f"{number} {'would be' if dry_run else 'were'} left out: {why}")
    if dry_run:
        typer.echo(f"{done.matched - sum(left_out.values())} post ids would be pushed again")
    else:
        typer.echo(f"pushed {done.pushed} post ids again")


def since_of(text: str, now: datetime) -> datetime:
    """When 90m, 2h or 3d ago was; or the day or moment that the text names.

    Raises:
        ConfigurationError: it is neither.
    """
    from storage.reports.labelled import moment

    found = re.fullmatch(r"([0-9]{1,6})\s*([smhdw])", text.strip(), re.ASCII)
    if found is None:
        try:
            return moment(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"--{error}; or how long ago, as 90m, 2h or 3d") from None
    try:
        return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise ConfigurationError(
            f"--since is {text!r}, longer than there have been years"
        ) from None


def on_database(settings: Settings, *, read_only: bool = False) -> Any:
    """A transaction on the database of the settings; closes everything at its end."""
    from contextlib import contextmanager

    from storage.base.database import connect, transaction
    from storage.migrations.schema import require_schema

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
