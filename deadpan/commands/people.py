"""Commands for who may sign in to the console."""

from __future__ import annotations

from typing import Annotated

import typer

from deadpan.commands.output import AsJson, answer, answer_rows
from deadpan.commands.services import on_database
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

_URL = "http://127.0.0.1:8000"
Name = Annotated[str, typer.Argument(help="The name they sign in with.")]
Url = Annotated[
    str, typer.Option(help="The console's address, for the link; default DEADPAN_CONSOLE_URL.")
]

moderators = typer.Typer(
    help="People who may sign in to the console, and tokens for programs.",
    no_args_is_help=True,
)


@moderators.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, moderator, lead or admin.")] = "moderator",
    email: Annotated[
        str, typer.Option(help="Matches an OpenID provider's account; no mail is sent.")
    ] = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Add somebody, and print a link to choose a password with, if passwords are on."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    with on_database() as connection:
        who = people.add(connection, name, role, actor=audit.COMMAND_LINE, email=email or None)
        if load().console_passwords == "off":
            words = f"{name} signs in with the OpenID provider; passwords are off"
            answer({"name": name, "link": None}, words, as_json=as_json)
            return
        token = sessions.make_link(connection, who, actor=audit.COMMAND_LINE, sets_password=True)
    _answer_link(name, url, token, _CHOOSES, as_json=as_json)


@moderators.command("list")
def list_(as_json: AsJson = False) -> None:
    """List everybody with their role."""
    from storage.people import moderators as people

    with on_database() as connection:
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
    columns = ["name", "role", "email", "password", "disabled"]
    answer_rows(rows, columns, as_json=as_json, empty="no moderators yet")


@moderators.command()
def disable(name: Name) -> None:
    """Deactivate somebody: their sessions and tokens end at once."""
    _disable(name, True)
    typer.echo(f"{name} can no longer sign in")


@moderators.command()
def enable(name: Name) -> None:
    """Reactivate somebody."""
    _disable(name, False)
    typer.echo(f"{name} can sign in again")


def _disable(name: str, disabled: bool) -> None:
    from storage.people import audit
    from storage.people import moderators as people

    with on_database() as connection:
        people.set_disabled(connection, name, disabled, actor=audit.COMMAND_LINE)


@moderators.command()
def role(
    name: Name,
    new_role: Annotated[str, typer.Argument(help="viewer, moderator, lead or admin.")],
) -> None:
    """Change somebody's role."""
    from storage.people import audit
    from storage.people import moderators as people

    with on_database() as connection:
        people.set_role(connection, name, new_role, actor=audit.COMMAND_LINE)
    typer.echo(f"{name} is now {new_role}")


@moderators.command()
def email(
    name: Name,
    address: Annotated[str, typer.Argument(help="Empty removes it.")] = "",
) -> None:
    """Set somebody's e-mail address; it matches their OpenID account at the first sign-in."""
    from storage.people import audit
    from storage.people import moderators as people

    with on_database() as connection:
        people.set_email(connection, name, address or None, actor=audit.COMMAND_LINE)
    typer.echo(f"{name}'s e-mail address is {address or 'removed'}")


@moderators.command()
def identity(
    name: Name,
    subject: Annotated[str, typer.Argument(help="The `sub` of their account there.")] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="Unlink the account; sessions end.")
    ] = False,
) -> None:
    """Link somebody to an account at the OpenID provider of the settings, or unlink it."""
    from storage.people import audit, identities
    from storage.people import moderators as people

    issuer = load().oidc_issuer
    if forget == bool(subject):
        raise ConfigurationError("give either a subject or --forget")
    if not forget and not issuer:
        raise ConfigurationError("there is no OpenID provider; set DEADPAN_OIDC_ISSUER")
    with on_database() as connection:
        who = people.by_name(connection, name)
        if forget:
            identities.forget(connection, who, actor=audit.COMMAND_LINE)
        else:
            identities.bind(connection, who, issuer, subject, actor=audit.COMMAND_LINE)
    account = "no account of a provider" if forget else f"{subject} at {issuer}"
    typer.echo(f"{name} is now linked to {account}")


@moderators.command("reset-link")
def reset_link(name: Name, url: Url = "", as_json: AsJson = False) -> None:
    """Print a link to choose a new password with; it works once, for a day."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    if load().console_passwords == "off":
        raise ConfigurationError(
            "DEADPAN_CONSOLE_PASSWORDS is 'off', so there is no password to choose; "
            f"`deadpan moderators sign-in-link {name}` signs somebody in during an outage of the "
            "provider"
        )
    with on_database() as connection:
        who = people.by_name(connection, name)
        token = sessions.make_link(connection, who, actor=audit.COMMAND_LINE, sets_password=True)
    _answer_link(name, url, token, _CHOOSES, as_json=as_json)


@moderators.command("sign-in-link")
def sign_in_link(name: Name, url: Url = "", as_json: AsJson = False) -> None:
    """Print a link that signs somebody in without password or provider, once, within an hour."""
    from storage.people import audit, sessions
    from storage.people import moderators as people

    with on_database() as connection:
        who = people.by_name(connection, name)
        if who.disabled_at is not None:
            raise ConfigurationError(
                f"{name} is deactivated; run `deadpan moderators enable {name}` first"
            )
        token = sessions.make_link(
            connection, who, actor=audit.COMMAND_LINE, sets_password=False, hours=1
        )
    _answer_link(name, url, token, "signs in here, once, within an hour", as_json=as_json)


@moderators.command()
def token(
    name: Annotated[str, typer.Argument(help="The moderator that the program acts as.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; may be repeated.")],
    as_json: AsJson = False,
) -> None:
    """Make an API token and print it. It is never shown again."""
    from storage.people import audit, tokens
    from storage.people import moderators as people

    with on_database() as connection:
        who = people.by_name(connection, name)
        made = tokens.make(connection, who, purpose, scope, actor=audit.COMMAND_LINE)
    told = {"token": made, "moderator": name, "scopes": sorted(set(scope))}
    answer(told, made, as_json=as_json)


_CHOOSES = "chooses a password here, once, within a day"


def _answer_link(name: str, url: str, token: str, does: str, *, as_json: bool) -> None:
    from console.people.links import link as link_to

    link = link_to((url or load().console_url or _URL).rstrip("/"), token)
    answer({"name": name, "link": link}, f"{name} {does}:\n{link}", as_json=as_json)
