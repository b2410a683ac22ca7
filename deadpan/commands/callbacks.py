"""Commands about callbacks: list undelivered ones, retry them, make a secret."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deadpan.commands.output import AsJson, Limit, answer, answer_rows
from deadpan.commands.services import on_database
from deadpan.core.errors import ConfigurationError

if TYPE_CHECKING:
    from storage.tables import Event

callbacks = typer.Typer(
    help="Callbacks to the platform: list undelivered ones, retry them, make a signing secret.",
    no_args_is_help=True,
)


@callbacks.command("list")
def list_callbacks(
    parked: Annotated[bool, typer.Option("--parked", help="Only those no longer tried.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List undelivered callbacks, oldest first."""
    from storage.judging import outbox

    with on_database(read_only=True) as connection:
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
    columns = ["id", "event", "post_id", "state", "attempts", "error"]
    answer_rows(rows, columns, as_json=as_json, empty="no undelivered callbacks")


@callbacks.command("retry")
def retry_callbacks(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Ids of parked callbacks, as `list` shows them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All parked callbacks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retry parked callbacks, with a full set of tries."""
    from storage.judging import outbox

    wanted = sorted(set(ids or ()))
    if bool(wanted) == every:
        raise ConfigurationError("give either the ids of parked callbacks or --all")
    with on_database() as connection:
        if problems := _problems(outbox.events_by_id(connection, wanted), wanted):
            raise ConfigurationError(problems)
        count = outbox.retry_parked(connection, None if every else wanted)
    answer({"retried": count}, f"{count} callbacks will be retried", as_json=as_json)


@callbacks.command("secret")
def make_secret() -> None:
    """Make a secret for DEADPAN_CALLBACK_SECRET."""
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
                f"callback {number} is not parked; its next try is at "
                f"{event.next_attempt_at:%F %T} UTC"
            )
    return problems
