"""Who is asking, and may they: sessions of browsers, tokens of programs, forged forms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from console.web.permissions import PERMISSIONS, Permission
from console.web.state import Visitor, console_of
from deadpan.core.errors import AccessDenied
from storage.base.database import transaction
from storage.people import sessions, tokens

COOKIE = "deadpan_session"
_TOUCH_EVERY = timedelta(minutes=1)


class GuardedRoute(APIRoute):
    """A route that asks the table of permissions before it reads anything of the request.

    A route that the table does not have cannot be made.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind its guard."""
        handler = super().get_route_handler()
        assert self.methods is not None
        (method,) = self.methods
        permission = PERMISSIONS[method, self.path]

        async def guarded(request: Request) -> Response:
            request.state.visitor = await run_in_threadpool(admit, request, permission)
            if method != "GET" and permission.scope is None and permission.role is not None:
                await _refuse_forged_form(request)
            response = await handler(request)
            if method != "GET":
                console_of(request).changed()
            return response

        return guarded


def admit(request: Request, permission: Permission) -> Visitor | None:
    """Gives who asks; None only on a route for anybody.

    Raises:
        AccessDenied: nobody is signed in, or they may not do this.
    """
    visitor = _by_token(request) if permission.scope else _by_session(request)
    # Set before refusing, so that the refusal is shown on a page with their menu.
    request.state.visitor = visitor
    if permission.role is None:
        return visitor
    if visitor is None:
        if permission.scope:
            raise AccessDenied(
                "send `Authorization: Bearer TOKEN` with an API token that has not been revoked"
            )
        raise AccessDenied("please sign in")
    if not visitor.moderator.may(permission.role):
        raise AccessDenied(
            f"your role is {visitor.moderator.role}; this needs the role {permission.role}",
            signed_in=True,
        )
    if permission.scope and (visitor.token is None or permission.scope not in visitor.token.scopes):
        raise AccessDenied(f"this token lacks the scope {permission.scope}", signed_in=True)
    return visitor


def csrf_token(session_token: str) -> str:
    """What the forms of this session carry; it cannot be made without the cookie."""
    return hmac.new(session_token.encode(), b"deadpan form", hashlib.sha256).hexdigest()


def _by_session(request: Request) -> Visitor | None:
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    database = console_of(request).database
    with transaction(database, read_only=True) as connection:
        session = sessions.find(connection, token)
    if session is None:
        return None
    if datetime.now(UTC) - session.last_seen_at > _TOUCH_EVERY:
        with transaction(database) as connection:
            sessions.touch(connection, session)
    return Visitor(session.moderator, session=session, csrf=csrf_token(token))


def _by_token(request: Request) -> Visitor | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return None
    database = console_of(request).database
    with transaction(database, read_only=True) as connection:
        token = tokens.find(connection, given.strip())
    if token is None or token.moderator.disabled_at is not None:
        return None
    if token.last_used_at is None or datetime.now(UTC) - token.last_used_at > _TOUCH_EVERY:
        with transaction(database) as connection:
            tokens.touch(connection, token)
    return Visitor(token.moderator, token=token)


async def _refuse_forged_form(request: Request) -> None:
    visitor: Visitor = request.state.visitor
    given = request.headers.get("X-CSRF-Token")
    if given is None:
        found = (await request.form()).get("csrf", "")
        given = found if isinstance(found, str) else ""
    if not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
        raise AccessDenied(
            "this form belongs to another session; go back, reload the page and try again",
            signed_in=True,
        )
