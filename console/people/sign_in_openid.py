"""Signing in by an OpenID provider: away with state, nonce and PKCE, and back with a code."""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from console.people.openid import CALLBACK_PATH, Provider, provider_of
from console.people.sign_in import inside, set_cookie, signed_in, with_form
from console.web.access import GuardedRoute
from console.web.state import audited, console_of
from deadpan.core.errors import AccessDenied, NotFound, SignInUnavailable
from storage.base.database import transaction
from storage.people import identities

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

COOKIE: Final = "deadpan_openid"
_PATH: Final = "/sign-in/oidc"
_SECONDS: Final = 600
"""How long a sign-in at the provider may take."""
_Given = Annotated[str, Query(max_length=4096)]


@router.get(_PATH)
def begin(request: Request, next: Annotated[str, Query(max_length=500)] = "/") -> Response:
    """Send the browser to the provider."""
    try:
        begun = _provider(request).begin()
    except SignInUnavailable as error:
        return _problem(request, error, inside(next))
    kept = {"state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier}
    response = RedirectResponse(begun.url, 303)
    value = str(_signer(request).dumps({**kept, "next": inside(next)}))
    set_cookie(request, response, COOKIE, value, _SECONDS, path=_PATH)
    return response


@router.get(CALLBACK_PATH)
def come_back(
    request: Request,
    state: _Given = "",
    code: _Given = "",
    error: _Given = "",
    iss: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Sign in whoever comes back from the provider, if they left from here."""
    provider = _provider(request)
    begun = _begun(request)
    onwards = inside(str(begun.get("next", "/")))
    subject = ""
    try:
        if not begun or not hmac.compare_digest(str(begun["state"]).encode(), state.encode()):
            raise AccessDenied(
                "this sign-in was not started in this browser, or more than ten minutes ago; "
                "sign in again"
            )
        if error or not code:
            why = "it was declined" if error == "access_denied" else "something went wrong there"
            raise AccessDenied(f"{provider.name} did not sign you in: {why}")
        claims = provider.finish(
            code, iss=iss, nonce=str(begun["nonce"]), verifier=str(begun["verifier"])
        )
        subject = claims.subject
        if provider.gives_roles and claims.role is None:
            with transaction(console_of(request).database) as connection:
                identities.shut_out(connection, provider.issuer, subject)
            raise AccessDenied(f"{provider.name} gives you no role for this console; ask an admin")
        with transaction(console_of(request).database) as connection:
            moderator = identities.recognise(
                connection, provider.issuer, claims.subject, claims.verified_email
            )
            if claims.role is not None:
                moderator = identities.take_role(connection, moderator, claims.role)
    except (AccessDenied, SignInUnavailable) as problem:
        # Robots, who never started a sign-in here, write nothing into the log.
        if begun:
            after = {"by": provider.issuer, "subject": subject, "why": str(problem)[:300]}
            audited(request, "session.refused", "?", after, actor="?")
        return _problem(request, problem, onwards)
    response = signed_in(request, moderator, onwards, by=provider.issuer)
    response.delete_cookie(COOKIE, path=_PATH)
    return response


def _provider(request: Request) -> Provider:
    provider = provider_of(request)
    if provider is None:
        raise NotFound("people sign in with passwords here")
    return provider


def _begun(request: Request) -> dict[str, Any]:
    try:
        kept = _signer(request).loads(request.cookies.get(COOKIE, ""), max_age=_SECONDS)
    except BadSignature:
        return {}
    return kept if isinstance(kept, dict) else {}


def _signer(request: Request) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(console_of(request).secret_key, salt="deadpan.openid")


def _problem(request: Request, problem: AccessDenied | SignInUnavailable, onwards: str) -> Response:
    status = 503 if isinstance(problem, SignInUnavailable) else 403
    said = str(problem)
    if status == 503 and console_of(request).passwords:
        said += ", or sign in with a password"
    response = with_form(
        request,
        "sign-in.html",
        status=status,
        next=onwards,
        name="",
        problem=said[:1].upper() + said[1:] + ".",
    )
    # A code and a state work only once.
    response.delete_cookie(COOKIE, path=_PATH)
    return response
