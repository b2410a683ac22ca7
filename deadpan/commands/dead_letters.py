"""Commands about dead letters: list them, replay them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.settings import Settings, load


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
