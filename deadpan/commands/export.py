"""`deadpan export`: labelled posts for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deadpan.commands.output import AsJson, answer, warn
from deadpan.commands.services import opened_database
from deadpan.core.settings import load

export = typer.Typer(help="Export data as files.", no_args_is_help=True)


@export.callback()
def _root() -> None:
    """Keeps `decisions` a subcommand, though it is the only one."""


@export.command()
def decisions(
    to: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    since: Annotated[
        str, typer.Option(help="Only decisions from then on: a day or a time, in UTC by default.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write posts as moderators labelled them: posts.jsonl, and the pictures beside it.

    `deadpan train` and `deadpan evaluate` can read it. Erased posts and undone decisions are left
    out.
    """
    from storage.base.database import transaction
    from storage.judging.evidence import EvidenceStore
    from storage.people import audit
    from storage.reports import labelled

    start = labelled.moment(since) if since else None
    with opened_database() as database:
        # Before the first line is read, so that no export goes unrecorded.
        with transaction(database) as connection:
            audit.write(
                connection,
                audit.COMMAND_LINE,
                "export",
                "labelled posts",
                after={"since": since or None, "to": str(to)},
            )
        with transaction(database, read_only=True) as connection:
            store = EvidenceStore(load().evidence_url)
            found = labelled.write_folder(connection, store, to, since=start)
    file = str(to / labelled.POSTS_FILE)
    told = {
        "file": file,
        "posts": found.posts,
        "images": found.images,
        "without_evidence": found.without_evidence,
    }
    answer(told, f"{file}: {found.posts} posts, {found.images} pictures", as_json=as_json)
    if found.problem is not None and not as_json:
        warn(f"{found.without_evidence} posts are left out; the last one because {found.problem}")
