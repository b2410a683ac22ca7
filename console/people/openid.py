"""An OpenID provider, by the authorization code flow with PKCE. Authlib speaks to it.

What is checked here is what Authlib leaves to its caller: that the provider's description is of the
issuer that was configured and names addresses as safe as its own, that a token is signed by a key
pair (never `none`, never the client's secret), that this console alone is its audience, and that an
e-mail address was verified.
"""

from __future__ import annotations

import base64
import importlib.util
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlsplit

import requests
import structlog
from fastapi import Request

from console.people.openid_roles import ClaimedRoles
from deadpan.core.errors import AccessDenied, ConfigurationError, SignInUnavailable

CALLBACK_PATH: Final = "/sign-in/oidc/callback"
_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
_TIMEOUT_SECONDS: Final = 10
_LEEWAY_SECONDS: Final = 60
"""How far the provider's clock may be from ours."""
_KEPT_SECONDS: Final = 3600
"""The provider's metadata and keys are fetched again after this."""
_OF_KEYS: Final = ("bad_signature", "unsupported_algorithm", "invalid_key_id")
_REST_SECONDS: Final = 5
"""An unreachable provider is not asked again for this long: else everybody waits for it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was started: where to send the browser, and what it must come back with."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Claims:
    """Who the provider says somebody is."""

    subject: str
    verified_email: str | None
    role: str | None = None
    """By the role claim of the settings, if there is one."""


def provider_of(request: Request) -> Provider | None:
    """The provider that people may sign in with; None where there is none."""
    return cast("Provider | None", request.app.state.provider)


class Provider:
    """The provider of the settings.

    Args:
        issuer: exactly as it calls itself.
        client_id: of this console.
        console_url: where browsers reach the console; never taken from a request.
        scopes: what it is asked for.
        roles: how its claims become roles; None leaves roles to admins.

    Raises:
        ConfigurationError: Authlib is not installed.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        console_url: str,
        *,
        scopes: str = "openid email",
        roles: ClaimedRoles | None = None,
    ) -> None:
        if importlib.util.find_spec("authlib") is None:
            raise ConfigurationError(
                "DEADPAN_OIDC_ISSUER is set, but OpenID support is not installed; "
                "run `pip install 'deadpan[oidc]'`, or leave the setting empty"
            )
        self.issuer = issuer
        self.name = urlsplit(issuer).netloc
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = console_url + CALLBACK_PATH
        self._scopes = scopes
        self._roles = roles
        self._lock = threading.Lock()
        self._kept: tuple[float, Any] | None = None
        self._failed_at: float | None = None

    @property
    def gives_roles(self) -> bool:
        """Whether roles come from the provider."""
        return self._roles is not None

    def begin(self) -> Begun:
        """Starts a sign-in.

        Raises:
            SignInUnavailable: the provider cannot be reached.
        """
        with _in_words(self.name):
            made = self._client().create_authorization_url(self._redirect_uri)
        return Begun(made["url"], made["state"], made["nonce"], made["code_verifier"])

    def finish(self, code: str, *, iss: str | None, nonce: str, verifier: str) -> Claims:
        """Exchanges the code that a browser came back with for who somebody is.

        Args:
            iss: who gave the code, where the provider says so (RFC 9207).
            nonce, verifier: of the sign-in that was started.

        Raises:
            AccessDenied: the code or the token is invalid.
            SignInUnavailable: the provider cannot be reached.
        """
        from joserfc.errors import JoseError

        with _in_words(self.name):
            client = self._client()
            says_who = client.server_metadata.get("authorization_response_iss_parameter_supported")
            if (iss is not None or says_who) and iss != self.issuer:
                raise AccessDenied("this answer came from another provider; sign in again")
            token = client.fetch_access_token(self._redirect_uri, code=code, code_verifier=verifier)
            token = token if isinstance(token.get("id_token"), str) else {}
            try:
                claims = self._parsed(client, token, nonce)
            except JoseError as error:
                if error.error not in _OF_KEYS:
                    raise
                # The cached keys and algorithms may be out of date.
                claims = self._parsed(self._client(at_most_old=_REST_SECONDS), token, nonce)
            if claims is None:
                raise AccessDenied("the provider gave no ID token; ask an admin")
            if claims["aud"] not in (self._client_id, [self._client_id]):
                raise AccessDenied("the provider's token is for another audience; ask an admin")
            subject = claims["sub"]
            if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\x00" in subject:
                raise AccessDenied("the provider's token names no user; ask an admin")
            return self._claims(client, token, subject, claims)

    def sign_out_url(self) -> str | None:
        """Where somebody ends their session at the provider; None if it has no such page or cannot
        be reached."""
        try:
            with _in_words(self.name):
                client = self._client()
                if "end_session_endpoint" not in client.server_metadata:
                    return None
                made = client.create_logout_url(client_id=self._client_id)
                return cast(str, made["url"])
        except SignInUnavailable:
            return None

    def _parsed(self, client: Any, token: Any, nonce: str) -> Any:
        return client.parse_id_token(
            token,
            nonce,
            claims_options={"iss": {"essential": True, "value": self.issuer}},
            leeway=_LEEWAY_SECONDS,
        )

    def _claims(self, client: Any, token: Any, subject: str, claims: Mapping[str, Any]) -> Claims:
        # Some providers put these claims into the ID token, others only into the userinfo answer.
        roles = self._roles
        wants_more = "email" not in claims or (roles is not None and not roles.has(claims))
        more: Mapping[str, Any] = {}
        if wants_more and "userinfo_endpoint" in client.server_metadata:
            more = client.userinfo(token=token)
            if more.get("sub") != subject:
                raise AccessDenied("the provider described two different people; sign in again")
        # The address and whether it is verified must come from the same answer.
        of_email = claims if "email" in claims else more
        email = of_email.get("email")
        verified = of_email.get("email_verified") is True
        role = None
        if roles is not None:
            role = roles.role(claims if roles.has(claims) else more)
        return Claims(subject, email if verified and isinstance(email, str) else None, role)

    def _client(self, *, at_most_old: float = _KEPT_SECONDS) -> Any:
        with self._lock:
            now = time.monotonic()
            if self._kept is not None and now - self._kept[0] < at_most_old:
                return self._kept[1]
            if self._failed_at is not None and now - self._failed_at < _REST_SECONDS:
                raise SignInUnavailable(_away(self.name))
            try:
                self._kept = (now, self._describe())
            except Exception:
                self._failed_at = time.monotonic()
                raise
            return self._kept[1]

    def _describe(self) -> Any:
        from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
        from authlib.integrations.requests_client import OAuth2Session

        class Session(OAuth2Session):  # type: ignore[misc]  # Authlib has no types
            """Follows no redirects: what is sent to a provider stays with it."""

            def request(self, *args: Any, **kwargs: Any) -> Any:
                return super().request(*args, **{**kwargs, "allow_redirects": False})

        class Client(OAuth2Mixin, OpenIDMixin, BaseApp):  # type: ignore[misc]
            client_cls = Session

        client = Client(
            None,
            client_id=self._client_id,
            client_secret=self._client_secret,
            server_metadata_url=self.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": self._scopes,
                "code_challenge_method": "S256",
                "default_timeout": _TIMEOUT_SECONDS,
                "token_endpoint_auth_method": _in_header,
            },
        )
        said = client.load_server_metadata()
        if said.get("issuer") != self.issuer:
            raise SignInUnavailable(
                f"the provider calls itself {str(said.get('issuer'))[:200]!r}, but "
                f"DEADPAN_OIDC_ISSUER is {self.issuer!r}; set it to exactly the same value"
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", *_OPTIONAL):
            if name in _OPTIONAL and name not in said:
                continue
            parts = urlsplit(str(said.get(name)))
            if parts.scheme not in ("https", urlsplit(self.issuer).scheme) or not parts.hostname:
                raise SignInUnavailable(
                    f"the provider's {name} is {str(said.get(name))[:200]!r}, "
                    "which is not a trusted address"
                )
        # Providers list `none` and HS256 too; an ID token from the token endpoint has a key pair.
        listed = said.get("id_token_signing_alg_values_supported") or ["RS256"]
        said["id_token_signing_alg_values_supported"] = [a for a in listed if a in _ALGORITHMS]
        ways = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if "client_secret_basic" not in ways and _IN_BODY in ways:
            client.client_kwargs |= {"token_endpoint_auth_method": _IN_BODY}
        client.fetch_jwk_set()
        return client


_IN_BODY: Final = "client_secret_post"


def _in_header(client: Any, method: str, url: str, headers: Any, body: Any) -> tuple[Any, ...]:
    # Each part is form-encoded first (RFC 6749, 2.3.1), which Authlib 1.9 leaves out: a secret with
    # a `%` or `+` in it was another one at a provider that reads what the standard says.
    proof = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(proof.encode()).decode()}"
    return url, headers, body


_OPTIONAL: Final = ("userinfo_endpoint", "end_session_endpoint")


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Maps what Authlib raises; its messages may quote the provider, and are never shown."""
    from authlib.integrations.base_client import OAuthError
    from joserfc.errors import JoseError

    try:
        yield
    except (JoseError, OAuthError) as error:
        code = str(error.error)[:64]
        log.warning("sign-in by the provider refused", provider=name, why=code)
        if code in ("invalid_client", "unauthorized_client"):
            raise SignInUnavailable(
                f"{name} does not recognise this console; check DEADPAN_OIDC_CLIENT_ID and "
                "DEADPAN_OIDC_CLIENT_SECRET"
            ) from None
        raise AccessDenied(
            f"the answer from {name} is invalid ({_said(error)}); sign in again"
        ) from None
    except (requests.RequestException, ValueError, KeyError, TypeError, RuntimeError) as error:
        log.warning("the provider cannot be asked", provider=name, why=type(error).__name__)
        raise SignInUnavailable(_away(name)) from None


def _away(name: str) -> str:
    return f"{name} cannot be reached right now; try again"


def _said(error: Any) -> str:
    """The error code, and the claim that is wrong."""
    claim = getattr(error, "claim", None)
    code = str(error.error)
    shown = f"{code}: {claim}" if isinstance(claim, str) else code
    return shown if shown.isascii() and shown.isprintable() and len(shown) <= 64 else "an error"
