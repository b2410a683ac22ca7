"""Commands about callbacks: list what was not delivered, try it again, make a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deadpan.commands.dead_letters import on_database
from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

if TYPE_CHECKING:
    from storage.tables import Event

callbacks = typer.Typer(
    help="What the platform is told: list what was not delivered, try it again.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(callbacks, name="callbacks")


@callbacks.command("list")
def list_callbacks(
    parked: Annotated[bool, typer.Option("--parked", help="Only those tried no more.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List callbacks that were not delivered, the oldest first."""
    from storage.judging import outbox

    with on_database(load(), read_only=True) as connection:
        rows = [
            {
                "id": event.id,
                "event": event.event,
                "post_id": event.post_id,
                "webhook_id": event.idempotency_key,
                "state": "parked" if event.parked_at else "pending",
                "attempts": event.attempts,
                "created_at": event.created_at.isoformat(),
                "next_attempt_at": None if event.parked_at else event.next_attempt_at.isoformat(),
                "error": event.last_error,
            }
            for event in outbox.undelivered(connection, limit=limit, parked=parked or None)
        ]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "error": row["error"] or ""} for row in rows]
    columns = ["id", "event", "post_id", "state", "attempts", "error"]
    print_table(shown, columns, empty="no callbacks wait")


@callbacks.command("retry")
def retry_callbacks(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Ids of parked callbacks, as `list` shows them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are parked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try parked callbacks again, from the first try on."""
    from storage.judging import outbox

    wanted = sorted(set(ids or ()))
    if bool(wanted) == every:
        raise ConfigurationError("give the ids of parked callbacks, or --all; one of them")
    with on_database(load()) as connection:
        if wanted:
            problems = _problems(outbox.events_by_id(connection, wanted), wanted)
            if problems:
                raise ConfigurationError(problems)
        count = outbox.retry_parked(connection, None if every else wanted)
    if as_json:
        print_json({"retried": count})
    else:
        typer.echo(f"{count} callbacks are tried again")


@callbacks.command("secret")
def make_secret() -> None:
    """Make a secret for DEADPAN_CALLBACK_SECRET."""
    import base64
    import secrets

    typer.echo("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


def _problems(found: Mapping[int, Event], wanted: Sequence[int]) -> list[str]:
    problems = []
    for number in wanted:
        event = found.get(number)
        if event is None:
            problems.append(f"callback {number} does not exist; see `deadpan callbacks list`")
        elif event.delivered_at is not None:
            problems.append(f"callback {number} was delivered at {event.delivered_at:%F %T} UTC")
        elif event.parked_at is None:
            problems.append(
                f"callback {number} is not parked; it is tried at {event.next_attempt_at:%F %T} UTC"
            )
    return problems
