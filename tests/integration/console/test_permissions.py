"""Every route of the console, asked for by every role and by nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from console.app import create_app
from console.web.permissions import PERMISSIONS
from console.web.state import Console
from storage.base.database import connect
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from storage.people.tokens import SCOPES
from storage.tables import ROLES
from tasks.intake.intake import Intake
from tests.console_server import SECRET, ConsoleServer, serving


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, valkey_server: object
) -> Iterator[ConsoleServer]:
    folder = tmp_path_factory.mktemp("permissions")
    engine = connect(f"sqlite:///{folder}/deadpan.db")
    migrate(engine)
    intake = Intake.at(valkey_server.url)  # type: ignore[attr-defined]
    with serving(engine, intake, EvidenceStore(str(folder / "evidence"))) as running:
        yield running
    intake.close()
    engine.dispose()


def _paths() -> list[tuple[str, str, str]]:
    """Method, path as the table has it, and a path to ask for."""
    filled = {
        "flag_id": "999999",
        "decision_id": "999999",
        "letter_id": "999999",
        "review_id": "999999",
        "token_id": "999999",
        "view_id": "999999",
        "sha256": "a" * 64,
        "name": "nobody",
        "batch": "none",
        "post_id:path": "none",
    }
    return [
        (method, path, re.sub(r"\{([^}]+)\}", lambda found: filled[found[1]], path))
        for method, path in PERMISSIONS
    ]


def test_the_table_has_every_route_and_no_other(tmp_path: Path, intake: Intake) -> None:
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db")
    app = create_app(Console(engine, intake, EvidenceStore(str(tmp_path)), SECRET))

    def routes(within: object) -> Iterator[tuple[str, str]]:
        for route in within.routes:  # type: ignore[attr-defined]
            if isinstance(route, APIRoute):
                yield from ((method, route.path) for method in route.methods or ())
            elif hasattr(route, "original_router"):
                yield from routes(route.original_router)
            else:
                assert route.path == "/static", route

    assert sorted(routes(app)) == sorted(PERMISSIONS)
    engine.dispose()


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_page_opens_for_its_role_and_above_and_for_nobody_else(
    server: ConsoleServer, role: str | None
) -> None:
    name = f"walker-{role}" if role else None
    person = server.client(name, role or "viewer")
    for method, path, asked in _paths():
        permission = PERMISSIONS[method, path]
        if permission.scope is not None:
            continue
        if path in ("/sign-out", "/settings/sessions"):  # they may end the session of the walk
            person = server.client(name, role or "viewer")
        answer = person.get(asked) if method == "GET" else person.post(asked)
        if path == "/sign-out":
            person = server.client(name, role or "viewer")
        about = f"{role} {method} {path} {answer.status_code}"
        if permission.role is None:
            assert answer.status_code not in (401, 500), about
        elif role is None:
            # A page leads to the sign-in form; a form or a download says 401.
            refused = answer.status_code == 401 or (
                answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
            )
            assert refused, about
        elif ROLES.index(role) >= ROLES.index(permission.role):
            assert answer.status_code not in (401, 403, 500, 405), about
        else:
            assert answer.status_code == 403, about


@pytest.mark.parametrize("role", ROLES)
def test_every_call_of_the_api_opens_for_its_scope_and_role_and_for_nothing_else(
    server: ConsoleServer, role: str
) -> None:
    whole = server.token(f"api-{role}", *SCOPES, role=role)
    single = {scope: server.token(f"api-{role}", scope, role=role) for scope in SCOPES}
    with httpx.Client(base_url=server.url) as http:
        for method, path, asked in _paths():
            permission = PERMISSIONS[method, path]
            if permission.scope is None or permission.role is None:
                continue
            about = f"{role} {method} {path}"
            assert http.request(method, asked).status_code == 401, about
            wrong = {"Authorization": "Bearer deadpan_wrong"}
            assert http.request(method, asked, headers=wrong).status_code == 401, about
            may = ROLES.index(role) >= ROLES.index(permission.role)
            for headers in (whole, single[permission.scope]):
                status = http.request(method, asked, headers=headers).status_code
                assert (status not in (401, 403, 500)) if may else (status == 403), about
            others = server.token(f"api-{role}", *(set(SCOPES) - {permission.scope}), role=role)
            assert http.request(method, asked, headers=others).status_code == 403, about


def test_a_session_opens_no_api_and_a_token_no_page(server: ConsoleServer) -> None:
    person = server.client("ann", "admin")
    assert person.get("/api/v1/flags").status_code == 401
    headers = server.token("ann", *SCOPES)
    assert httpx.get(f"{server.url}/", headers=headers).status_code == 303


def test_a_form_without_the_sessions_token_changes_nothing(server: ConsoleServer) -> None:
    person, other = server.client("ann", "admin"), server.client("eva", "admin")
    found = re.search(r'data-csrf="([0-9a-f]+)"', other.get("/").text)
    assert found
    for method, path, asked in _paths():
        permission = PERMISSIONS[method, path]
        if method == "GET" or permission.scope or permission.role is None:
            continue
        for fields in ({}, {"csrf": "x"}, {"csrf": found[1]}):
            assert person.http.post(asked, data=fields).status_code == 403, path
