"""Commands that start something: demo, up, worker, autoscale, console, housekeeping."""

from __future__ import annotations

import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from deadpan.commands.output import AsJson, print_json
from deadpan.core import logs, variables
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

SERVING = ("worker", "autoscale", "console", "housekeeping")
"""Commands whose standard error is a log."""


def demo(
    posts: Annotated[
        Path | None,
        typer.Option(help="Serve this JSONL file of posts instead of the demo's own."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="The demo's folder; emptied at each start.")] = Path(
        ".deadpan/demo"
    ),
    picture: Annotated[
        Path | None, typer.Option(help="Also write the table as an SVG picture.")
    ] = None,
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--no-stay",
            help="Keep the console open until Ctrl-C; by default only on a terminal.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of the console; 0 takes a free one.", min=0, max=65535)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run a sample platform, embedded Valkey, SQLite and one worker, and judge the demo's posts.

    On a terminal it runs until Ctrl-C, with a link to the console; with --json it ends when all
    posts have an outcome.
    """
    from deadpan.demo.run import run_demo
    from worker.local.embedded import free_port

    if stay and as_json:
        raise ConfigurationError("--stay and --json exclude each other: with --json the demo ends")
    if stay is None:
        stay = sys.stdout.isatty() and not as_json
    run_demo(
        posts=posts,
        folder=folder,
        picture=picture,
        show=(lambda rows, summary: print_json(summary)) if as_json else None,
        console_port=(port or free_port()) if stay else None,
    )


def up(
    folder: Annotated[Path, typer.Option(help="Folder for all data and logs.")] = Path(
        ".deadpan/up"
    ),
    port: Annotated[int, typer.Option(help="Port of the console.", min=1, max=65535)] = 8000,
    redis_port: Annotated[
        int, typer.Option(help="Port of the embedded Valkey.", min=1, max=65535)
    ] = 6380,
) -> None:
    """Run everything on one machine with embedded services, until Ctrl-C.

    Without DEADPAN_SOURCE it runs the demo on a terminal, and refuses to start elsewhere. If
    DEADPAN_METRICS_PORT is set, the worker uses it, and housekeeping the next port.
    """
    from deadpan.commands.up import run_up

    if sys.stdout.isatty() and not load().source:
        from deadpan.demo.run import run_demo

        shown = folder / "demo"
        typer.echo(
            f"DEADPAN_SOURCE is not set: these are the demo's posts, kept in {shown}, which is "
            "emptied at each start"
        )
        run_demo(posts=None, folder=shown, console_port=port)
        return
    run_up(folder=folder, console_port=port, redis_port=redis_port)


def worker(
    name: Annotated[
        str,
        typer.Option(help="Its name, without the host; unique on this host."),
    ] = "",
    with_housekeeping: Annotated[
        bool,
        typer.Option(
            "--with-housekeeping", help="Run housekeeping too, in a thread of this worker."
        ),
    ] = False,
) -> None:
    """Run one worker: the Celery worker with the warm model."""
    logs.begin()
    variables.tell()
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,100}", name):
        raise ConfigurationError(f"--name is {name!r}; use letters, digits, dots, - and _")
    import celery.bin.worker  # noqa: F401 - completes celery's lazy module before the app uses it

    from worker import app
    from worker.app import OrderlyEnd

    # By default Celery names a worker after its host alone, so two would look like one.
    named = f"{name or f'worker-{os.getpid()}'}@%h"
    house: AbstractContextManager[None] = nullcontext()
    if with_housekeeping:
        # Only here: other workers must not show housekeeping's metrics.
        from worker.housekeeping import beside

        settings = load()
        logs.configure(settings.log_level, settings.log_format)
        house = beside(settings)
    with house:
        app.worker_main(["--quiet", "worker", "-n", named, "--without-gossip", "--without-mingle"])
    raise typer.Exit(OrderlyEnd.exit_code)


def housekeeping() -> None:
    """Deliver callbacks, end expired claims, delete old data. Several may run; one leads."""
    from worker.housekeeping import run

    logs.begin()
    variables.tell()
    run(load())


def autoscale(
    no_workers: Annotated[
        bool,
        typer.Option("--no-workers", help="Start none: only report how many are needed, for KEDA."),
    ] = False,
    folder: Annotated[Path, typer.Option(help="Folder for the workers' logs.")] = Path(
        ".deadpan/autoscale"
    ),
    as_json: AsJson = False,
) -> None:
    """Run as many workers on this machine as the latency goal needs, until Ctrl-C.

    The number is served at /api/v1/scaling on DEADPAN_METRICS_PORT.
    """
    from worker.fleet.autoscale import run_autoscale

    logs.begin()
    variables.tell()
    run_autoscale(folder=folder, no_workers=no_workers, as_json=as_json)


def console(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
) -> None:
    """Run the console: the pages that moderators see, and the JSON API."""
    from console.serve import serve

    logs.begin()
    variables.tell()
    serve(host=host, port=port)
