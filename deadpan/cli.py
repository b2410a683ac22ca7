"""The command line. A command imports what it needs inside, so that `deadpan --help` is instant.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from deadpan import __version__
from deadpan.commands import operate, run
from deadpan.commands.callbacks import callbacks
from deadpan.commands.canary import canary
from deadpan.commands.dead_letters import dead_letters
from deadpan.commands.enqueue import enqueue
from deadpan.commands.erase import erase
from deadpan.commands.export import export
from deadpan.commands.measure import calibrate, evaluate
from deadpan.commands.model import classify, cross_validate, train
from deadpan.commands.people import moderators
from deadpan.commands.policy import policy
from deadpan.commands.status import status
from deadpan.core import streams, variables
from deadpan.core.errors import DeadpanError
from deadpan.core.logs import complain

app = typer.Typer(
    name="deadpan",
    help="Deadpan reads a post's words and pictures together and says what needs a human.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deadpan {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    # Processes that serve warn once their log has begun, and `check` with everything else.
    if context.invoked_subcommand not in (*run.SERVING, "check"):
        variables.tell()


for command in (
    *(run.demo, run.up, run.worker, run.autoscale, run.console, run.housekeeping),
    *(enqueue, status, classify, train, cross_validate, evaluate, calibrate),
    *(operate.settings, operate.check, erase, canary),
):
    app.command()(command)
for name, group in {
    "dead-letters": dead_letters,
    "callbacks": callbacks,
    "db": operate.db,
    "moderators": moderators,
    "export": export,
    "policy": policy,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; no stack trace for a user's mistake."""
    streams.fit()
    try:
        app()
    except DeadpanError as error:
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before the command itself has begun
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough; a flush at exit would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
