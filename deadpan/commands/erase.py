"""`deadpan erase`."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Annotated

import typer

from deadpan.commands.output import AsJson, print_json
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(erase)


def erase(
    post: Annotated[str | None, typer.Option(help="A post id.")] = None,
    author: Annotated[
        str | None, typer.Option(help="An author, as the post source names them.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Who asked for it, for the receipt; empty takes the user's name.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the text, pictures and explanations of a post, or of all posts of an author so far.

    Scores and decisions stay, without content. A receipt stays, and the post is not judged again.
    """
    from storage.base.database import connect, transaction
    from storage.judging.evidence import EvidenceStore
    from storage.keeping.erasure import preview
    from storage.migrations.schema import require_schema
    from tasks.housekeeping.erasure import erase as run

    if (post is None) == (author is None):
        raise ConfigurationError("give --post ID or --author ID; one of them")
    kind, subject = ("post", post) if post is not None else ("author", author)
    if not subject:
        raise ConfigurationError(f"--{kind} is empty; give the id")
    settings = load()
    if not by:
        with suppress(KeyError, OSError):  # a container's user may have no name
            by = getpass.getuser()
    database = connect(settings.database_url.get_secret_value())
    try:
        require_schema(database)
        if not yes and not as_json:
            with transaction(database) as connection:
                known = preview(connection, "post" if kind == "post" else "author", subject).posts
            unknown = "" if known else f"No such {kind} is known here; is it spelt right? "
            typer.confirm(f"{unknown}Erase {kind} {subject!r} for good?", abort=True)
        found = run(
            database,
            EvidenceStore(settings.evidence_url),
            "post" if kind == "post" else "author",
            subject,
            requested_by=by or "the command line",
        )
    finally:
        database.dispose()
    told = {"receipt": found.receipt, "erased": kind, **found.counts()}
    if as_json:
        print_json(told)
        return
    if not found.posts:
        typer.echo(f"nothing of {kind} {subject!r} was known here; receipt {found.receipt}")
        return
    typer.echo(
        f"erased: {found.posts} posts, {found.verdicts} verdicts, {found.flags} open flags closed, "
        f"{len(found.evidence)} pieces of evidence, {found.notes} notes; receipt {found.receipt}"
    )
