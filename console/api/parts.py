"""What every part of the JSON API shares: its errors, idempotency keys, one transaction a write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Security
from fastapi.encoders import jsonable_encoder
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Connection

from console.api import shapes
from console.web.access import GuardedRoute
from console.web.render import PROBLEM
from console.web.state import console_of, visitor_of
from storage.base.database import transaction
from storage.people import tokens

_PROBLEM = {
    "model": shapes.Problem,
    "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "It cannot be read.", **_PROBLEM},
    401: {"description": "No token, or one that opens nothing.", **_PROBLEM},
    403: {"description": "Not for this token or its moderator.", **_PROBLEM},
    404: {"description": "There is no such thing.", **_PROBLEM},
    409: {"description": "Somebody was faster, or the key was used for another.", **_PROBLEM},
    413: {"description": "More than a megabyte."},
    422: {"description": "A value that cannot be used.", **_PROBLEM},
    503: {"description": "A service is away; try again.", **_PROBLEM},
}

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key gives the same answer for a day, whatever happened to the first.",
    ),
]


def new_router() -> APIRouter:
    """Routes that ask for a bearer token and say so in the document."""
    return APIRouter(
        route_class=GuardedRoute,
        dependencies=[Security(HTTPBearer(auto_error=False))],
        responses=RESPONSES,
    )


def write(
    request: Request,
    key: str | None,
    body: BaseModel | None,
    work: Callable[[Connection], BaseModel],
) -> dict[str, Any]:
    """Does the work in one transaction, once for each key."""

    def plain() -> Mapping[str, Any]:
        return dict(jsonable_encoder(work(connection)))

    token = visitor_of(request).token
    assert token is not None
    with transaction(console_of(request).database) as connection:
        if key is None:
            return dict(plain())
        asked = {"path": request.url.path, "body": body.model_dump() if body else None}
        fingerprint = json.dumps(asked, sort_keys=True).encode()
        return dict(tokens.once(connection, token, key, fingerprint, plain))
