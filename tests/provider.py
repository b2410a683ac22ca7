"""An OpenID provider in a process of its own, made of Authlib's server classes: it checks client,
secret, redirect address, PKCE and nonce as one in the world does, and lies when a test says so.

Run as `python -m tests.provider PORT REDIRECT_URI` it serves on loopback until it is ended.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.console_server import ConsoleServer, Person

CLIENT_ID = "deadpan"
CLIENT_SECRET = "canary-of-a-client-secret"
#: Not where the console listens: the address that is sent along comes from the setting alone.
PUBLIC = "https://deadpan.example"
CALLBACK = f"{PUBLIC}/sign-in/oidc/callback"
ROOT = Path(__file__).parents[1]


class OpenIdProvider:
    """The process, and what a test tells it to be.

    Attributes:
        issuer: how it names itself.
    """

    def __init__(self, port: int, redirect_uri: str) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.provider", str(port), redirect_uri],
            cwd=ROOT,
            env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
        )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "the provider ended"
            try:
                httpx.get(f"{self.issuer}/jwks")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def be(self, **mood: Any) -> None:
        """From now on: `user` is who signs in, `claims` replace those of the ID token (null takes
        one out), `alg` signs it, `thin` tells the address at the userinfo endpoint alone,
        `metadata` replaces what it says of itself, `answer` is added to the redirect, `new_key`
        puts another key under the same name.
        """
        httpx.put(f"{self.issuer}/mood", json=mood).raise_for_status()

    def authorize(self, url: str) -> str:
        """What a browser does there: signs in, and gives where it is sent back to."""
        assert url.startswith(self.issuer + "/authorize?")
        answer = httpx.post(url)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=30)


def field_of_form(page: str) -> str:
    """What a form for people who are not signed in carries."""
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found, page
    return found[1]


class Browser:
    """A browser that keeps cookies as one does, also those for https alone."""

    def __init__(self, console: ConsoleServer) -> None:
        self.person: Person = console.client()
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self._ask("GET", path, **more)

    def post(self, path: str, fields: dict[str, Any]) -> httpx.Response:
        return self._ask("POST", path, data=fields)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        self.person.http.cookies.clear()
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        headers |= more.pop("headers", {})
        answer = self.person.http.request(method, path, headers=headers, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0].strip('"')
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def leave(self, path: str = "/sign-in/oidc", **more: Any) -> str:
        answer = self.get(path, **more)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def come_back(self, where: str) -> httpx.Response:
        assert where.startswith(CALLBACK + "?")
        return self.get(where.removeprefix(PUBLIC))

    def sign_in(self, provider: OpenIdProvider) -> httpx.Response:
        return self.come_back(provider.authorize(self.leave()))

    def name(self) -> str | None:
        page = self.get("/settings")
        return page.text.partition('<span class="soft">')[2].partition(",")[0] or None


def _serve(port: int, redirect: str) -> None:
    import uvicorn
    from authlib.oauth2 import AuthorizationServer, OAuth2Request
    from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
    from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin
    from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
    from authlib.oauth2.rfc6750 import BearerTokenGenerator
    from authlib.oauth2.rfc7636 import CodeChallenge
    from authlib.oidc.core import OpenIDCode
    from joserfc import jwt
    from joserfc.jwk import KeySet, OctKey, RSAKey
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    issuer = f"http://127.0.0.1:{port}"
    keys = {"one": RSAKey.generate_key(2048, {"kid": "one"})}
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    mood: dict[str, Any] = {}
    codes: dict[str, Code] = {}
    tokens: dict[str, dict[str, Any]] = {}
    nonces: set[str] = set()

    def user() -> dict[str, Any]:
        return mood.get("user") or {"sub": "s1", "email": "ann@x.example", "email_verified": True}

    class Client(ClientMixin):  # type: ignore[misc]
        def get_client_id(self) -> str:
            return CLIENT_ID

        def get_default_redirect_uri(self) -> str:
            return redirect

        def get_allowed_scope(self, scope: str) -> str:
            return scope

        def check_redirect_uri(self, uri: str) -> bool:
            return uri == redirect

        def check_client_secret(self, secret: str) -> bool:
            return secret == CLIENT_SECRET

        def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
            return method == mood.get("auth_method", "client_secret_basic")

        def check_response_type(self, kind: str) -> bool:
            return kind == "code"

        def check_grant_type(self, kind: str) -> bool:
            return kind == "authorization_code"

    class Code(AuthorizationCodeMixin):  # type: ignore[misc]
        def __init__(self, asked: dict[str, str]) -> None:
            self.asked, self.user = asked, user()
            self.code_challenge = asked.get("code_challenge")
            self.code_challenge_method = asked.get("code_challenge_method")

        def get_redirect_uri(self) -> str:
            return self.asked["redirect_uri"]

        def get_scope(self) -> str:
            return self.asked["scope"]

        def get_nonce(self) -> str | None:
            return self.asked.get("nonce")

        def get_auth_time(self) -> int:
            return int(time.time())

        def get_acr(self) -> None:
            return None

        def get_amr(self) -> None:
            return None

    class Grant(AuthorizationCodeGrant):  # type: ignore[misc]
        def save_authorization_code(self, code: str, request: Any) -> None:
            asked = request.payload.data
            assert asked["code_challenge_method"] == "S256"
            nonces.add(asked["nonce"])
            codes[code] = Code(asked)

        def query_authorization_code(self, code: str, client: Any) -> Any:
            return codes.get(code)

        def delete_authorization_code(self, code: Any) -> None:
            for name in [each for each, kept in codes.items() if kept is code]:
                del codes[name]

        def authenticate_user(self, code: Any) -> dict[str, Any]:
            return code.user

    class IdToken(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return nonce in nonces

        def encode_id_token(self, token: dict[str, Any], request: Any) -> str:
            now = int(time.time())
            code = request.authorization_code
            claims = {"iss": issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300}
            claims |= {"nonce": code.get_nonce(), **request.user}
            if mood.get("thin"):
                claims = {k: v for k, v in claims.items() if not k.startswith("email")}
            claims |= mood.get("claims", {})
            claims = {name: value for name, value in claims.items() if value is not None}
            alg = mood.get("alg", "RS256")
            if alg == "none":
                return _unsigned(claims)
            by = {"HS256": OctKey.import_key(CLIENT_SECRET), "stranger": stranger}.get(
                alg, keys["one"]
            )
            alg = "RS256" if alg == "stranger" else alg
            return jwt.encode({"alg": alg, "kid": "one"}, claims, by, algorithms=[alg])

    class Asked(OAuth2Request):  # type: ignore[misc]
        def __init__(self, request: Request, form: dict[str, str]) -> None:
            super().__init__(request.method, str(request.url), headers=dict(request.headers))
            self.headers = {k.title(): v for k, v in request.headers.items()}
            self._args, self._form = dict(request.query_params), form
            self.payload = BasicOAuth2Payload({**self._args, **form})

        @property
        def args(self) -> dict[str, str]:
            return self._args

        @property
        def form(self) -> dict[str, str]:
            return self._form

    class Server(AuthorizationServer):  # type: ignore[misc]
        def query_client(self, client_id: str) -> Client | None:
            return Client() if client_id == CLIENT_ID else None

        def save_token(self, token: dict[str, Any], request: Any) -> None:
            tokens[token["access_token"]] = request.user

        def create_oauth2_request(self, request: Any) -> Any:
            return request

        def handle_response(self, status: int, body: Any, headers: Any) -> Response:
            kept = dict(headers)
            text = json.dumps(body) if isinstance(body, dict) else body or ""
            return Response(text, status, kept)

        def send_signal(self, *_: Any, **__: Any) -> None:
            pass

    server = Server()
    generator = BearerTokenGenerator(lambda **_: os.urandom(16).hex(), expires_generator=300)
    server.register_token_generator("default", generator)
    server.register_grant(Grant, [CodeChallenge(required=True), IdToken(require_nonce=True)])

    async def describe(_: Request) -> Response:
        said = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "end_session_endpoint": f"{issuer}/end",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
        return JSONResponse({**said, **mood.get("metadata", {})})

    async def jwks(_: Request) -> Response:
        return JSONResponse(KeySet([keys["one"]]).as_dict(private=False))

    async def authorize(request: Request) -> Response:
        asked = Asked(request, {})
        if request.method == "GET":
            return HTMLResponse(
                f"<!doctype html><title>Provider</title><form method=post>"
                f"<button>I am {user()['sub']}</button></form>"
            )
        grant = server.get_consent_grant(asked, end_user=user())
        answer = server.create_authorization_response(asked, grant_user=user(), grant=grant)
        for name, value in mood.get("answer", {}).items():
            answer.headers["location"] += f"&{name}={value}"
        return answer

    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return server.create_token_response(Asked(request, form))

    async def userinfo(request: Request) -> Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if given not in tokens:
            return Response(status_code=401)
        return JSONResponse({**tokens[given], **mood.get("userinfo", {})})

    async def end(_: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Provider</title><p>You are signed out.")

    async def be(request: Request) -> Response:
        mood.clear()
        mood.update(await request.json())
        if mood.get("new_key"):
            keys["one"] = RSAKey.generate_key(2048, {"kid": "one"})
        return Response(status_code=204)

    routes = [
        Route("/.well-known/openid-configuration", describe),
        Route("/jwks", jwks),
        Route("/authorize", authorize, methods=["GET", "POST"]),
        Route("/token", token, methods=["POST"]),
        Route("/userinfo", userinfo),
        Route("/end", end),
        Route("/mood", be, methods=["PUT"]),
    ]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")


def _unsigned(claims: dict[str, Any]) -> str:
    import base64

    parts = [{"alg": "none"}, claims]
    made = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*made, ""])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
