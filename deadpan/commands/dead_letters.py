"""Commands about dead letters: list them, replay them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from deadpan.commands.output import AsJson, Limit, answer, answer_rows, print_json
from deadpan.commands.services import on_database, opened_database, opened_intake
from deadpan.core.errors import ConfigurationError

if TYPE_CHECKING:
    from storage.judging.dead_letters import Wanted

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}

dead_letters = typer.Typer(
    help="Posts that could not be judged: list them, replay them.", no_args_is_help=True
)


@dead_letters.command("list")
def list_dead_letters(limit: Limit = 50, as_json: AsJson = False) -> None:
    """List posts that could not be judged, newest first."""
    from storage.judging import queries

    with on_database(read_only=True) as connection:
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
    columns = ["id", "post_id", "stage", "attempts", "error"]
    answer_rows(rows, columns, as_json=as_json, empty="no dead letters")


@dead_letters.command("replay")
def replay_dead_letters(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Ids of dead letters, as `list` shows them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All dead letters, or those that match the options below.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(help="With --all: only those that failed in this stage.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --all: only those that failed since: 2h, 3d, a day or a time."),
    ] = None,
    error: Annotated[
        str | None, typer.Option(help="With --all: only those whose error contains this text.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --all: only count them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push the posts of dead letters onto the intake again.

    --all pushes a thousand at a time; if it is interrupted, run it again for the rest.
    """
    from storage.judging.dead_letters import Wanted

    narrowed = {"--stage": stage, "--since": since, "--error": error, "--dry-run": dry_run or None}
    given = [name for name, value in narrowed.items() if value is not None]
    if given and not everything:
        raise ConfigurationError(f"{given[0]} only works with --all; give --all as well")
    if bool(ids) == everything:
        raise ConfigurationError("give either ids of dead letters or --all")
    if not ids:
        wanted = Wanted(stage, since_of(since, datetime.now(UTC)) if since else None, error)
        _replay_all(wanted, dry_run=dry_run, as_json=as_json)
        return
    from storage.people import audit
    from tasks.intake.replay import replay

    with opened_intake() as intake, on_database() as connection:
        replayed = replay(connection, ids, intake)
        for letter_id in sorted(set(ids)):
            subject = f"dead letter {letter_id}"
            audit.write(connection, audit.COMMAND_LINE, "dead-letter.replay", subject)
    answer({"replayed": replayed}, f"pushed {len(replayed)} post ids again", as_json=as_json)


def _replay_all(wanted: Wanted, *, dry_run: bool, as_json: bool) -> None:
    from storage.people import audit
    from tasks.intake.replay import replay_all

    def say(done: int, total: int) -> None:
        if not as_json and not dry_run and total > done:
            typer.echo(f"{done} of {total} dead letters", err=True)

    with opened_intake() as intake, opened_database() as database:
        done = replay_all(
            database, intake, wanted, actor=audit.COMMAND_LINE, dry_run=dry_run, said=say
        )
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
    """When 90m, 2h or 3d ago was; or the day or time that the text names.

    Raises:
        ConfigurationError: it is neither.
    """
    from storage.reports.labelled import moment

    found = re.fullmatch(r"([0-9]{1,6})\s*([smhdw])", text.strip(), re.ASCII)
    try:
        if found is None:
            return moment(text)
        return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except ConfigurationError as error:
        raise ConfigurationError(f"--{error}; or how long ago, such as 90m, 2h or 3d") from None
    except OverflowError:
        raise ConfigurationError(f"--since is {text!r}, before the year 1; give less") from None
