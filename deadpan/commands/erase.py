"""`deadpan erase`."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Annotated, Literal

import typer

from deadpan.commands.output import AsJson, answer
from deadpan.commands.services import opened_database
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load


def erase(
    post: Annotated[str | None, typer.Option(help="A post id.")] = None,
    author: Annotated[
        str | None, typer.Option(help="An author, as the post source names them.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Who asked for it, for the receipt; default: the current user.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase the text, pictures and explanations of a post, or of all posts of an author so far.

    Scores and decisions stay, without content. A receipt stays, and the post is not judged again.
    """
    from storage.base.database import transaction
    from storage.judging.evidence import EvidenceStore
    from storage.keeping.erasure import preview
    from tasks.housekeeping.erasure import erase as run

    if (post is None) == (author is None):
        raise ConfigurationError("give either --post ID or --author ID")
    kind: Literal["post", "author"] = "author" if post is None else "post"
    subject = post or author
    if not subject:
        raise ConfigurationError(f"--{kind} is empty; give an id")
    if not by:
        with suppress(KeyError, OSError):  # a container's user may have no name
            by = getpass.getuser()
    with opened_database() as database:
        if not yes and not as_json:
            with transaction(database) as connection:
                known = preview(connection, kind, subject).posts
            unknown = "" if known else f"No such {kind} is known here; check the spelling. "
            typer.confirm(f"{unknown}Erase {kind} {subject!r} for good?", abort=True)
        store = EvidenceStore(load().evidence_url)
        found = run(database, store, kind, subject, requested_by=by or "the command line")
    words = f"nothing of {kind} {subject!r} was known here; receipt {found.receipt}"
    if found.posts:
        words = (
            f"erased: {found.posts} posts, {found.verdicts} verdicts, {found.flags} open flags "
            f"closed, {len(found.evidence)} pieces of evidence, {found.notes} notes; "
            f"receipt {found.receipt}"
        )
    told = {"receipt": found.receipt, "erased": kind, **found.counts()}
    answer(told, words, as_json=as_json)
