"""Commands for operators: settings, check, db."""

from __future__ import annotations

import typer

from deadpan.commands.check_post import show_post
from deadpan.commands.output import AsJson, print_json, print_table, warn
from deadpan.commands.services import opened_database
from deadpan.core.errors import ConfigurationError, SettingsError
from deadpan.core.settings import describe, load
from deadpan.core.variables import complaints


def settings(as_json: AsJson = False) -> None:
    """List every setting: environment variable, value, default and meaning."""
    rows = describe(load())
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ["variable", "value", "default", "type", "meaning"])


def check(
    offline: bool = typer.Option(False, "--offline", help="Do not ask Redis and the database."),
    post: str | None = typer.Option(
        None, "--post", metavar="ID", help="Show what is read of this post instead."
    ),
    as_json: AsJson = False,
) -> None:
    """Find all problems with the settings, the policy, the model and the services."""
    if post is not None:
        show_post(post, as_json=as_json)
        return
    from worker import checks

    problems: list[str] = []
    warnings = complaints()
    try:
        loaded = load()
    except SettingsError as error:
        problems = list(error.problems)
    else:
        problems = checks.configuration_problems(loaded) + checks.challenger_problems(loaded)
        if not offline:
            asked = checks.service_problems(loaded)
            problems += asked.problems
            warnings += asked.warnings
        warnings += checks.device_warnings(loaded) + checks.policy_warnings(loaded)
    if as_json:
        print_json({"problems": problems, "warnings": warnings})
        raise typer.Exit(2 if problems else 0)
    for warning in warnings:
        warn(warning)
    if problems:
        raise ConfigurationError(problems)
    typer.echo("no problems found" + (" (services were not asked)" if offline else ""))


db = typer.Typer(help="The database: bring its schema up to date.", no_args_is_help=True)


@db.command()
def migrate() -> None:
    """Bring the database to this version's schema; safe at any time, even run twice at once."""
    from storage.migrations.schema import migrate as run

    with opened_database(migrated=False) as database:
        run(database)
    typer.echo("the database is up to date")
