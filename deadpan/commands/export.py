"""`deadpan export`: what can be taken along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deadpan.commands.output import AsJson, print_json
from deadpan.core.settings import load


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(export, name="export")


export = typer.Typer(help="What can be taken along.", no_args_is_help=True)


@export.callback()
def _root() -> None:
    """Keeps `decisions` a command of its own, though it is the only one."""


@export.command()
def decisions(
    to: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    since: Annotated[
        str, typer.Option(help="Only decisions from then on: a day or a moment, UTC if not said.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write posts as moderators labelled them: posts.jsonl, and the pictures beside it.

    `deadpan train` and `deadpan evaluate` read it as it is. What was erased or undone is not in it.
    """
    from storage.base.database import connect, transaction
    from storage.judging.evidence import EvidenceStore
    from storage.migrations.schema import require_schema
    from storage.people import audit
    from storage.reports import labelled

    settings = load()
    start = labelled.moment(since) if since else None
    database = connect(settings.database_url.get_secret_value())
    try:
        require_schema(database)
        store = EvidenceStore(settings.evidence_url)
        # Before the first line is read, so that whatever leaves is written down.
        with transaction(database) as connection:
            audit.write(
                connection,
                audit.COMMAND_LINE,
                "export",
                "labelled posts",
                after={"since": since or None, "to": str(to)},
            )
        with transaction(database, read_only=True) as connection:
            found = labelled.write_folder(connection, store, to, since=start)
    finally:
        database.dispose()
    file = str(to / labelled.POSTS_FILE)
    if as_json:
        print_json(
            {
                "file": file,
                "posts": found.posts,
                "images": found.images,
                "without_evidence": found.without_evidence,
            }
        )
        return
    typer.echo(f"{file}: {found.posts} posts, {found.images} pictures")
    if found.problem is not None:
        typer.echo(
            f"warning: {found.without_evidence} posts are left out, the last because "
            f"{found.problem}",
            err=True,
        )
