"""Commands for who may sign in to the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

if TYPE_CHECKING:
    from sqlalchemy import Connection

_URL = "http://127.0.0.1:8000"
Name = Annotated[str, typer.Argument(help="What they sign in with.")]
Url = Annotated[
    str, typer.Option(help="Where the console is, for the link; else DEADPAN_CONSOLE_URL.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(moderators, name="moderators")


moderators = typer.Typer(
    help="The people who may sign in to the console, and tokens for programs.",
    no_args_is_help=True,
)


@moderators.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, moderator, lead or admin.")] = "moderator",
    email: Annotated[
        str, typer.Option(help="An OpenID provider's account is met by it; no mail is sent.")
    ] = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Add somebody, and print a link by which they choose a password, if there are passwords."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    with _database() as connection:
        who = people.add(connection, name, role, actor=audit.COMMAND_LINE, email=email or None)
        if load().console_passwords == "off":
            _show_added(name, as_json)
            return
        token = sessions.make_link(connection, who, actor=audit.COMMAND_LINE, sets_password=True)
    _show_link(_link(url, token), name, as_json)


@moderators.command("list")
def list_(as_json: AsJson = False) -> None:
    """List everybody with their role."""
    from storage.people import moderators as people

    with _database() as connection:
        rows = [
            {
                "name": each.name,
                "role": each.role,
                "email": each.email or "",
                "password": "chosen" if each.has_password else "none yet",
                "disabled": each.disabled_at.isoformat() if each.disabled_at else "",
            }
            for each in people.everyone(connection)
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ["name", "role", "email", "password", "disabled"], empty="nobody yet")


@moderators.command()
def disable(name: Name) -> None:
    """Keep somebody out: their sessions and tokens end at once."""
    _disable(name, True)
    typer.echo(f"{name} cannot sign in any more")


@moderators.command()
def enable(name: Name) -> None:
    """Let somebody in again."""
    _disable(name, False)
    typer.echo(f"{name} may sign in again")


@moderators.command()
def role(
    name: Name,
    new_role: Annotated[str, typer.Argument(help="viewer, moderator, lead or admin.")],
) -> None:
    """Give somebody another role."""
    from storage.people import audit
    from storage.people import moderators as people

    with _database() as connection:
        people.set_role(connection, name, new_role, actor=audit.COMMAND_LINE)
    typer.echo(f"{name} is {new_role} now")


@moderators.command()
def email(
    name: Name,
    address: Annotated[str, typer.Argument(help="Empty takes it away.")] = "",
) -> None:
    """Write down somebody's e-mail address; an OpenID provider's account is first met by it."""
    from storage.people import audit
    from storage.people import moderators as people

    with _database() as connection:
        people.set_email(connection, name, address or None, actor=audit.COMMAND_LINE)
    typer.echo(f"the e-mail address of {name} is {address or 'taken away'}")


@moderators.command()
def identity(
    name: Name,
    subject: Annotated[str, typer.Argument(help="The `sub` of their account there.")] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Forget it; sessions end.")] = False,
) -> None:
    """Say who somebody is at the OpenID provider of the settings, or forget it."""
    from storage.people import audit, identities
    from storage.people import moderators as people

    issuer = load().oidc_issuer
    if forget == bool(subject):
        raise ConfigurationError("give either a subject or --forget")
    if not forget and not issuer:
        raise ConfigurationError("there is no provider; set DEADPAN_OIDC_ISSUER")
    with _database() as connection:
        who = people.by_name(connection, name)
        if forget:
            identities.forget(connection, who, actor=audit.COMMAND_LINE)
        else:
            identities.bind(connection, who, issuer, subject, actor=audit.COMMAND_LINE)
    typer.echo(f"{name} is {'nobody' if forget else subject} at {issuer or 'any provider'} now")


@moderators.command("reset-link")
def reset_link(name: Name, url: Url = "", as_json: AsJson = False) -> None:
    """Print a link by which somebody chooses a new password; it works once, for a day."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    if load().console_passwords == "off":
        raise ConfigurationError(
            "DEADPAN_CONSOLE_PASSWORDS is 'off', so there is none to choose; "
            f"`deadpan moderators sign-in-link {name}` lets somebody in where the provider is away"
        )
    with _database() as connection:
        who = people.by_name(connection, name)
        token = sessions.make_link(connection, who, actor=audit.COMMAND_LINE, sets_password=True)
    _show_link(_link(url, token), name, as_json)


@moderators.command("sign-in-link")
def sign_in_link(name: Name, url: Url = "", as_json: AsJson = False) -> None:
    """Print a link that signs somebody in without password or provider, once, within an hour."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    with _database() as connection:
        who = people.by_name(connection, name)
        if who.disabled_at is not None:
            raise ConfigurationError(
                f"{name} is kept out; `deadpan moderators enable {name}` lets them in again first"
            )
        token = sessions.make_link(
            connection, who, actor=audit.COMMAND_LINE, sets_password=False, hours=1
        )
    _show_link(_link(url, token), name, as_json, "signs in here, once, within an hour")


@moderators.command()
def token(
    name: Annotated[str, typer.Argument(help="Who the program acts as.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; give it several times.")],
    as_json: AsJson = False,
) -> None:
    """Make an API token and print it. It is never shown again."""
    from storage.people import audit, tokens
    from storage.people import moderators as people

    with _database() as connection:
        who = people.by_name(connection, name)
        made = tokens.make(connection, who, purpose, scope, actor=audit.COMMAND_LINE)
    if as_json:
        print_json({"token": made, "moderator": name, "scopes": sorted(set(scope))})
    else:
        typer.echo(made)


def _disable(name: str, disabled: bool) -> None:
    from storage.people import audit
    from storage.people import moderators as people

    with _database() as connection:
        people.set_disabled(connection, name, disabled, actor=audit.COMMAND_LINE)


def _show_link(
    link: str,
    name: str,
    as_json: bool,
    does: str = "chooses a password here, once, within a day",
) -> None:
    if as_json:
        print_json({"name": name, "link": link})
    else:
        typer.echo(f"{name} {does}:\n{link}")


def _link(url: str, token: str) -> str:
    from console.people.links import link

    return link((url or load().console_url or _URL).rstrip("/"), token)


def _show_added(name: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "link": None})
    else:
        typer.echo(f"{name} signs in by the provider; passwords are off")


@contextmanager
def _database() -> Iterator[Connection]:
    from storage.base.database import connect, transaction
    from storage.migrations.schema import require_schema

    database = connect(load().database_url.get_secret_value())
    try:
        require_schema(database)
        with transaction(database) as connection:
            yield connection
    finally:
        database.dispose()
