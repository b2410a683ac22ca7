"""What `deadpan check --post` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from deadpan.commands.output import print_json
from deadpan.core.logs import shown
from deadpan.core.settings import load

_SHOWN_CHARACTERS = 300


def show_post(post_id: str, *, as_json: bool) -> None:
    """Show what is read of one post; nothing is pushed or written.

    Raises:
        SettingsError: the settings name no post source that can be asked.
        typer.Exit: with 1, the post is not read.
    """
    from worker.post_check import check_post

    told = check_post(load(), post_id)
    if as_json:
        print_json(told)
    else:
        for line in _lines(told):
            typer.echo(shown(line))
        for warning in told["warnings"]:
            typer.echo(f"warning: {shown(warning)}", err=True)
    if told["outcome"] != "read":
        raise typer.Exit(1)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"post {told['post_id']}: {told['outcome']}"
    if "error" in told:
        again = "; it would be tried again" if told.get("transient") else ""
        yield f"  {told['error']}{again}"
    for name, value in told.get("fields", {}).items():
        if name == "text":
            length = len(value)
            value = repr(value[:_SHOWN_CHARACTERS]) + ("…" if length > _SHOWN_CHARACTERS else "")
            value = f"{length} characters: {value}"
        yield f"  {name:<11} {'none' if value is None else value}"
    images = told.get("images")
    if images == []:
        yield "  images      none"
    for number, image in enumerate(images or [], 1):
        yield f"  image {number:<5} {image['address']}"
        if image["final_url"] not in (None, image["address"]):
            yield f"              from {image['final_url']}"
        if image["bytes"] is not None:
            size = f"{image['width']} x {image['height']} pixels, " if image["width"] else ""
            kind = image["format"] or "no picture that is known"
            yield f"              {kind}, {size}{image['bytes']} bytes"
        if image["problem"]:
            yield f"              left out: {image['problem']}"
    if together := told.get("asked_together"):
        yield (
            f"  together with {together['made_up_id']}, which was made up: that one is "
            f"{together['outcome']}"
        )
