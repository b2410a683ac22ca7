"""One's own settings and sessions; and, for admins, who may sign in and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from console.people import passwords
from console.people.links import link
from console.people.openid import provider_of
from console.people.sign_in import PASSWORDS_OFF, Password
from console.web.access import GuardedRoute
from console.web.fields import BIGGEST, CleanForm, RowId, Short
from console.web.render import page, see_other
from console.web.state import audited, console_of, visitor_of
from deadpan.core.errors import ConfigurationError, NotFound
from storage.base.database import transaction
from storage.people import exposures, identities, moderators, sessions, tokens
from storage.people.tokens import SCOPES
from storage.tables import ROLES

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
PICTURES: Final = {"blur": "Blurred", "grey": "Greyscale", "cover": "Covered", "show": "Shown"}
THEMES: Final = {"auto": "Match my system", "light": "Light", "dark": "Dark"}
_NO_PASSWORDS = (
    f"{PASSWORDS_OFF}; people sign in through the provider. If it is unavailable, "
    "whoever runs Deadpan can create a link with `deadpan moderators sign-in-link`"
)


@router.get("/settings")
def settings_page(request: Request, saved: str = "") -> Response:
    """How one wants the console."""
    return _settings(request, saved="Saved." if saved else "")


@router.post("/settings")
def save_settings(
    request: Request,
    pictures: Annotated[Literal["blur", "grey", "cover", "show"], Form()] = "blur",
    theme: Annotated[Literal["auto", "light", "dark"], Form()] = "auto",
    keys: Short = "off",
    break_after: Annotated[int, Form(ge=0, le=1000)] = exposures.BREAK_AFTER,
) -> Response:
    """Keep them."""
    chosen = {
        "pictures": pictures,
        "theme": theme,
        "keys": keys == "on",
        "break_after": break_after,
    }
    with transaction(console_of(request).database) as connection:
        moderators.set_settings(connection, visitor_of(request).moderator, chosen)
    return see_other("/settings?saved=1")


@router.post("/settings/password")
def change_password(
    request: Request, old: Password = "", password: Password = "", again: Password = ""
) -> Response:
    """Choose another password; sessions elsewhere end."""
    console, visitor = console_of(request), visitor_of(request)
    me = visitor.moderator
    assert visitor.session is not None
    if not console.passwords:
        _note_refused_password(request, PASSWORDS_OFF)
        return _settings(request, problem=_NO_PASSWORDS, status=403)
    place = f"session {visitor.session.id}"
    with transaction(console.database) as connection:
        found = moderators.password_hash(connection, me.name)
        wait = sessions.begin_try(connection, me.name, place) if me.has_password else 0
        by_provider = identities.has_one(connection, me)
    try:
        # Else whom the provider keeps out had left themselves another door.
        if by_provider and not me.has_password:
            raise ConfigurationError("you sign in through a provider; an admin can make you a link")
        if wait:
            raise ConfigurationError(f"too many wrong passwords; try again in {wait} s")
        if me.has_password and not passwords.is_right(old, found[1] if found else None):
            _note_refused_password(request, "the current password was wrong")
            raise ConfigurationError("the current password is wrong")
        with transaction(console.database) as connection:
            sessions.forget_failures(connection, me.name, place)
        kept = passwords.hashed_twice(password, again, me.name)
    except ConfigurationError as error:
        return _settings(request, problem=str(error), status=422)
    with transaction(console.database) as connection:
        moderators.set_password(connection, me.id, kept, actor=me.name)
        sessions.end(connection, me, actor=me.name, keep=visitor.session.id)
    return see_other("/settings?saved=1")


@router.post("/settings/sessions")
def end_sessions(
    request: Request, session_id: Annotated[int | None, Form(ge=1, le=BIGGEST)] = None
) -> Response:
    """End one of one's sessions, or all but this one."""
    visitor = visitor_of(request)
    assert visitor.session is not None
    with transaction(console_of(request).database) as connection:
        sessions.end(
            connection,
            visitor.moderator,
            actor=visitor.moderator.name,
            session_id=session_id,
            keep=visitor.session.id if session_id is None else None,
        )
    return see_other("/settings")


@router.get("/moderators")
def moderators_page(request: Request) -> Response:
    """Who may sign in."""
    return _moderators(request)


@router.post("/moderators")
def add_moderator(
    request: Request, name: CleanForm = "", role: Short = "moderator", email: CleanForm = ""
) -> Response:
    """Add somebody, with a link by which they choose a password where there are passwords."""
    actor, token = visitor_of(request).moderator.name, None
    try:
        with transaction(console_of(request).database) as connection:
            added = moderators.add(connection, name.lower(), role, actor=actor, email=email or None)
            if console_of(request).passwords:
                token = sessions.make_link(connection, added, actor=actor, sets_password=True)
    except ConfigurationError as error:
        return _moderators(request, problem=str(error), status=422, typed={"name": name})
    if token is None:
        return see_other("/moderators")
    return _moderators(request, link=_link(request, token), link_for=added.name)


@router.post("/moderators/{name}/role")
def change_role(request: Request, name: str, role: Annotated[str, Form(max_length=16)]) -> Response:
    """Give somebody another role."""
    return _change(request, lambda c, actor: moderators.set_role(c, name, role, actor=actor))


@router.post("/moderators/{name}/access")
def change_access(
    request: Request, name: str, disabled: Annotated[str, Form(max_length=3)]
) -> Response:
    """Deactivate somebody, or reactivate them."""
    return _change(
        request,
        lambda c, actor: moderators.set_disabled(c, name, disabled == "yes", actor=actor),
    )


@router.post("/moderators/{name}/link")
def make_link(request: Request, name: str) -> Response:
    """Make a link by which somebody chooses a new password."""
    actor, token = visitor_of(request).moderator.name, None
    with transaction(console_of(request).database) as connection:
        who = moderators.by_name(connection, name)
        if console_of(request).passwords:
            token = sessions.make_link(connection, who, actor=actor, sets_password=True)
    if token is None:
        audited(request, "link.refused", f"moderator {who.name}", {"why": PASSWORDS_OFF})
        return _moderators(request, problem=_NO_PASSWORDS, status=403)
    return _moderators(request, link=_link(request, token), link_for=who.name)


@router.post("/moderators/{name}/email")
def change_email(request: Request, name: str, email: CleanForm = "") -> Response:
    """Write down another e-mail address, by which a provider's account is met the first time."""
    return _change(request, lambda c, by: moderators.set_email(c, name, email or None, actor=by))


@router.post("/moderators/{name}/identity/forget")
def forget_identity(request: Request, name: str) -> Response:
    """Forget who somebody is at the provider; their sessions end."""
    return _change(
        request,
        lambda c, actor: identities.forget(c, moderators.by_name(c, name), actor=actor),
    )


@router.post("/tokens")
def make_token(
    request: Request,
    name: CleanForm = "",
    owner: Short = "",
    scope: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Make an API token and show it, once."""
    try:
        with transaction(console_of(request).database) as connection:
            who = moderators.by_name(connection, owner)
            actor = visitor_of(request).moderator.name
            token = tokens.make(connection, who, name, scope or [], actor=actor)
    except (ConfigurationError, NotFound) as error:
        return _moderators(request, token_problem=str(error), status=422)
    return _moderators(request, token=token)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(request: Request, token_id: RowId) -> Response:
    """End a token."""
    return _change(request, lambda c, actor: tokens.revoke(c, token_id, actor=actor))


def _note_refused_password(request: Request, why: str) -> None:
    me = visitor_of(request).moderator
    audited(request, "password.refused", f"moderator {me.name}", {"why": why})


def _change(request: Request, work: Callable[[Connection, str], object]) -> Response:
    try:
        with transaction(console_of(request).database) as connection:
            work(connection, visitor_of(request).moderator.name)
    except ConfigurationError as error:
        return _moderators(request, problem=str(error), status=422)
    return see_other("/moderators")


def _settings(request: Request, *, status: int = 200, **context: Any) -> Response:
    visitor = visitor_of(request)
    with transaction(console_of(request).database, read_only=True) as connection:
        living = sessions.living(connection, visitor.moderator)
        by_provider = identities.has_one(connection, visitor.moderator)
    return page(
        request,
        "settings.html",
        status=status,
        sessions=living,
        passwords=console_of(request).passwords,
        chooses_password=visitor.moderator.has_password or not by_provider,
        this_session=visitor.session.id if visitor.session else None,
        pictures=PICTURES,
        themes=THEMES,
        break_after=exposures.BREAK_AFTER,
        **context,
    )


def _moderators(request: Request, *, status: int = 200, **context: Any) -> Response:
    console, provider = console_of(request), provider_of(request)
    with transaction(console.database, read_only=True) as connection:
        people = moderators.everyone(connection)
        keys = tokens.everything(connection)
        known = identities.of_everyone(connection)
    return page(
        request,
        "moderators.html",
        status=status,
        people=people,
        tokens=keys,
        identities=known,
        provider=provider is not None or bool(known),
        roles_from=provider.name if provider is not None and provider.gives_roles else None,
        passwords=console.passwords,
        roles=ROLES,
        scopes=SCOPES,
        **context,
    )


def _link(request: Request, token: str) -> str:
    base = console_of(request).url or f"{request.url.scheme}://{request.url.netloc}"
    return link(base, token)
