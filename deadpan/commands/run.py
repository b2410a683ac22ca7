"""Commands that start something: demo, up, worker, autoscale, console, housekeeping."""

from __future__ import annotations

import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from deadpan.commands.output import AsJson
from deadpan.core import logs, variables
from deadpan.core.errors import ConfigurationError

SERVING = ("worker", "autoscale", "console", "housekeeping")
"""Commands whose standard error is a log."""


def demo(
    posts: Annotated[
        Path | None,
        typer.Option(help="Serve this JSONL file of posts instead of the demo's own."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where the demo keeps its files; emptied at each start.")
    ] = Path(".deadpan/demo"),
    picture: Annotated[
        Path | None, typer.Option(help="Also write the table as an SVG picture.")
    ] = None,
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--no-stay",
            help="Open the console on the flags until Ctrl-C; by default on a terminal only.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of the console; 0 takes a free one.", min=0, max=65535)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the main job on embedded services: a sample platform, Valkey, SQLite, one worker.

    On a terminal it stays until Ctrl-C, with a link to the console; with --json it ends when all
    posts are through.
    """
    from deadpan.demo.run import run_demo
    from worker.local.embedded import free_port

    if stay and as_json:
        raise ConfigurationError("--stay and --json: with --json the demo ends; give one of them")
    if stay is None:
        stay = sys.stdout.isatty() and not as_json
    run_demo(
        posts=posts,
        folder=folder,
        picture=picture,
        as_json=as_json,
        console_port=(port or free_port()) if stay else None,
    )


def up(
    folder: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".deadpan/up"),
    port: Annotated[int, typer.Option(help="Port of the console.", min=1, max=65535)] = 8000,
    redis_port: Annotated[
        int, typer.Option(help="Port of the embedded Valkey.", min=1, max=65535)
    ] = 6380,
) -> None:
    """Run everything on one machine with embedded services, until Ctrl-C.

    Without DEADPAN_SOURCE it shows the demo's posts on a terminal, and refuses to start elsewhere.
    The worker answers on DEADPAN_METRICS_PORT, if that is set, and housekeeping on the port after.
    """
    from deadpan.commands.up import run_up
    from deadpan.core.settings import load

    if sys.stdout.isatty() and not load().source:
        from deadpan.demo.run import run_demo

        shown = folder / "demo"
        typer.echo(
            f"DEADPAN_SOURCE is not set: these are the demo's posts, kept in {shown}, which each "
            "start empties"
        )
        run_demo(posts=None, folder=shown, picture=None, as_json=False, console_port=port)
        return
    run_up(folder=folder, console_port=port, redis_port=redis_port)


def worker(
    name: Annotated[
        str,
        typer.Option(help="Its name, without the host; no other worker of the host may have it."),
    ] = "",
    with_housekeeping: Annotated[
        bool,
        typer.Option("--with-housekeeping", help="Keep house too, in a thread of this worker."),
    ] = False,
) -> None:
    """Run one worker: the Celery worker with the warm model."""
    logs.begin()
    variables.tell()
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,100}", name):
        raise ConfigurationError(f"--name is {name!r}; use letters, digits, dots, - and _")
    import celery.bin.worker  # noqa: F401 - completes celery's lazy module before the app uses it

    from deadpan.core.settings import load
    from worker import app
    from worker.app import OrderlyEnd

    # By default Celery names a worker after its host alone, so that two look like one.
    named = f"{name or f'worker-{os.getpid()}'}@%h"
    house: AbstractContextManager[None] = nullcontext()
    if with_housekeeping:
        # Not before: a worker that keeps no house shows no metrics of it.
        from worker.housekeeping import beside

        settings = load()
        logs.configure(settings.log_level, settings.log_format)
        house = beside(settings)
    with house:
        app.worker_main(["--quiet", "worker", "-n", named, "--without-gossip", "--without-mingle"])
    raise typer.Exit(OrderlyEnd.exit_code)


def housekeeping() -> None:
    """Deliver callbacks, end expired claims, forget what is old. Several may run; one leads."""
    from deadpan.core.settings import load
    from worker.housekeeping import run

    logs.begin()
    variables.tell()
    run(load())


def autoscale(
    no_workers: Annotated[
        bool,
        typer.Option("--no-workers", help="Start none: only say how many are wanted, for KEDA."),
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where the workers' logs are kept.")] = Path(
        ".deadpan/autoscale"
    ),
    as_json: AsJson = False,
) -> None:
    """Run as many workers on this machine as the latency goal needs, until Ctrl-C.

    Says how many are wanted at /api/v1/scaling of DEADPAN_METRICS_PORT.
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
