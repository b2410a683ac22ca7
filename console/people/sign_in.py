"""Signing in and out: passwords, links that work once, and guessers who have to wait."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from itsdangerous import BadSignature, URLSafeSerializer, URLSafeTimedSerializer

from console.people import passwords
from console.people.openid import provider_of
from console.web.access import COOKIE, GuardedRoute
from console.web.render import page, see_other
from console.web.state import Console, address_of, audited, console_of, visitor_of
from deadpan.core.errors import AccessDenied, ConfigurationError
from storage.base.database import transaction
from storage.people import identities, moderators, sessions

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

FORM_COOKIE = "deadpan_form"
DEVICE_COOKIE = "deadpan_device"
_FORM_SECONDS = 3600
_DEVICE_SECONDS = 180 * 86_400
Password = Annotated[str, Form(max_length=1000)]
PASSWORDS_OFF = "passwords are turned off here"


@router.get("/sign-in")
def sign_in_page(request: Request, token: str = "", next: str = "/", out: str = "") -> Response:
    """The form, or what a link would do. Looking at a link does not use it up: mail programs do."""
    if not token:
        if request.state.visitor is not None:
            return see_other(inside(next))
        provider = provider_of(request)
        away = provider.sign_out_url() if out and provider is not None else None
        shown: dict[str, Any] = {"next": inside(next), "name": "", "problem": None}
        return with_form(request, "sign-in.html", **shown, out=bool(out), away=away)
    console = console_of(request)
    with transaction(console.database, read_only=True) as connection:
        link = sessions.look_at_link(connection, token)
    if link.sets_password and not console.passwords:
        return without_passwords(request)
    return with_form(request, "link.html", link=link, token=token, problem=None)


@router.post("/sign-in")
def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Password = "",
    next: Annotated[str, Form(max_length=500)] = "/",
    form: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Sign in with a password.

    Wrong ones are counted by account and place, so nobody can lock somebody else out. A browser in
    which the account signed in before is a place of its own, so not even somebody behind the same
    address can.
    """
    console = console_of(request)
    _refuse_forged(request, form)
    if not console.passwords:
        _note_password(request)
        return without_passwords(request, inside(next))
    name = name.strip().lower()
    place = _place(request, console, name)
    with transaction(console.database) as connection:
        wait = sessions.begin_try(connection, name, place)
        found = moderators.password_hash(connection, name)
    problem, status = "", 401
    if wait:
        problem, status = f"Too many wrong passwords from here. Try again in {wait} s.", 429
    elif not passwords.is_right(password, found[1] if found else None):
        problem = "Wrong name or password."
        _note_refusal(request, name, "wrong name or password")
    elif found and found[0].disabled_at is not None:
        problem = "This account is disabled. Ask an admin."
        _note_refusal(request, name, "the account is disabled")
    if problem:
        return with_form(
            request, "sign-in.html", status=status, next=inside(next), name=name, problem=problem
        )
    assert found is not None
    with transaction(console.database) as connection:
        sessions.forget_failures(connection, name, place)
    return signed_in(request, found[0], inside(next), by="password")


@router.post("/sign-in/link")
def use_link(
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    form: Annotated[str, Form(max_length=500)] = "",
    password: Password = "",
    again: Password = "",
) -> Response:
    """Sign in with a link, choosing a password if it asks for one."""
    console = console_of(request)
    _refuse_forged(request, form)
    with transaction(console.database, read_only=True) as connection:
        link = sessions.look_at_link(connection, token)
    if link.sets_password and not console.passwords:
        _note_password(request, link.moderator.name)
        return without_passwords(request)
    kept = None
    if link.sets_password:
        try:
            kept = passwords.hashed_twice(password, again, link.moderator.name)
        except ConfigurationError as error:
            return with_form(
                request, "link.html", status=422, link=link, token=token, problem=str(error)
            )
    with transaction(console.database) as connection:
        link = sessions.use_link(connection, token)
        if kept is not None:
            moderator = link.moderator
            moderators.set_password(connection, moderator.id, kept, actor=moderator.name)
            # Whoever knew the password before is out.
            sessions.end(connection, moderator, actor=moderator.name)
    return signed_in(request, link.moderator, "/", by="link")


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End this session."""
    visitor = visitor_of(request)
    me = visitor.moderator
    assert visitor.session is not None
    with transaction(console_of(request).database) as connection:
        sessions.end(connection, me, actor=me.name, session_id=visitor.session.id)
        by_provider = identities.has_one(connection, me)
    # Not straight to the provider: `form-action` of our Content-Security-Policy forbids it.
    response = see_other("/sign-in?out=1" if by_provider else "/sign-in")
    response.delete_cookie(COOKIE, path="/")
    return response


def signed_in(
    request: Request, moderator: moderators.Moderator, onwards: str, *, by: str
) -> Response:
    """Starts a session in this browser; one that was there ends.

    Args:
        onwards: the path to go to.
        by: how they proved who they are, for the audit log.
    """
    console = console_of(request)
    client = request.headers.get("User-Agent", "a browser without a name")
    with transaction(console.database) as connection:
        old = request.cookies.get(COOKIE)
        before = sessions.find(connection, old) if old else None
        if before is not None:
            sessions.end(connection, before.moderator, actor=moderator.name, session_id=before.id)
        token = sessions.start(
            connection, moderator, client=client, address=address_of(request), by=by
        )
    response = see_other(onwards)
    set_cookie(request, response, COOKIE, token, sessions.SESSION_HOURS * 3600)
    device = _devices(console).dumps([moderator.name, secrets.token_urlsafe(12)])
    set_cookie(request, response, DEVICE_COOKIE, str(device), _DEVICE_SECONDS)
    response.delete_cookie(FORM_COOKIE, path="/")
    return response


def set_cookie(
    request: Request, response: Response, name: str, value: str, seconds: int, *, path: str = "/"
) -> None:
    """A cookie that no script reads and no other site's form sends."""
    https = request.url.scheme == "https" or console_of(request).url.startswith("https:")
    response.set_cookie(
        name, value, seconds, path=path, httponly=True, samesite="lax", secure=https
    )


def with_form(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A form for somebody who is not signed in: what it carries must match a signed cookie."""
    value = str(_forms(request).dumps(secrets.token_urlsafe(16)))
    provider = provider_of(request)
    context["provider"] = provider.name if provider is not None else None
    context["passwords"] = console_of(request).passwords
    response = page(request, template, status=status, form=value, **context)
    set_cookie(request, response, FORM_COOKIE, value, _FORM_SECONDS)
    return response


def without_passwords(request: Request, onwards: str = "/") -> Response:
    """Says that passwords are turned off here."""
    said = "Passwords are turned off here. Sign in with the provider."
    return with_form(request, "sign-in.html", status=403, next=onwards, name="", problem=said)


def _note_password(request: Request, name: str = "?") -> None:
    """Logs that somebody tried a password, though not every one of many tries."""
    place = address_of(request) or "?"
    with transaction(console_of(request).database) as connection:
        wait = sessions.begin_try(connection, "?", place)
    if not wait:
        _note_refusal(request, name, PASSWORDS_OFF)


def _note_refusal(request: Request, name: str, why: str) -> None:
    # By nobody: whoever types a name has not shown that it is theirs.
    after = {"by": "password", "why": why}
    audited(request, "session.refused", name or "?", after, actor="?")


def _refuse_forged(request: Request, form: str) -> None:
    kept = request.cookies.get(FORM_COOKIE, "")
    try:
        if not kept or not hmac.compare_digest(kept.encode(), form.encode()):
            raise BadSignature("not the same")
        _forms(request).loads(kept, max_age=_FORM_SECONDS)
    except BadSignature:
        raise AccessDenied(
            "this form has expired or came from elsewhere; reload the page and try again",
            signed_in=True,
        ) from None


def _forms(request: Request) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(console_of(request).secret_key, salt="deadpan.form")


def _place(request: Request, console: Console, name: str) -> str:
    try:
        known, nonce = _devices(console).loads(request.cookies.get(DEVICE_COOKIE, ""))
        if known == name:
            return f"browser {nonce}"
    except (BadSignature, ValueError, TypeError):
        pass
    return address_of(request) or "?"


def _devices(console: Console) -> URLSafeSerializer:
    return URLSafeSerializer(console.secret_key, salt="deadpan.device")


def inside(path: str) -> str:
    """A path of this console; anything that could lead elsewhere becomes the start page."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() and "\\" not in path else "/"
