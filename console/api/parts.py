"""What every part of the JSON API shares: its errors, idempotency keys, one transaction a write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Security
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
    400: {"description": "The request cannot be read.", **_PROBLEM},
    401: {"description": "No token, or an invalid or revoked one.", **_PROBLEM},
    403: {"description": "Not allowed for this token or its moderator.", **_PROBLEM},
    404: {"description": "Not found.", **_PROBLEM},
    409: {"description": "Someone else was faster, or the key has another request.", **_PROBLEM},
    413: {"description": "The body is over a megabyte."},
    422: {"description": "A value is invalid.", **_PROBLEM},
    503: {"description": "A service is unavailable; try again.", **_PROBLEM},
}

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Requests with the same key get the same answer for a day, and are done once.",
    ),
]
Shape = TypeVar("Shape", bound=BaseModel)


def new_router() -> APIRouter:
    """Routes that ask for a bearer token and say so in the document."""
    return APIRouter(
        route_class=GuardedRoute,
        dependencies=[Security(HTTPBearer(auto_error=False))],
        responses=RESPONSES,
    )


class Write:
    """A write: one transaction, and done once for each idempotency key.

    Attributes:
        console: the services.
        me: the token's moderator.
    """

    def __init__(self, request: Request, key: Key = None) -> None:
        visitor = visitor_of(request)
        assert visitor.token is not None
        self.console, self.me = console_of(request), visitor.moderator
        self._token, self._path, self._key = visitor.token, request.url.path, key

    def __call__(
        self,
        shape: type[Shape],
        work: Callable[[Connection], Shape],
        body: BaseModel | None = None,
    ) -> Shape:
        """Does the work, or gives what it gave to the same key before.

        Raises:
            FlagConflict: the key was used for another request.
        """

        def plain() -> Mapping[str, Any]:
            return dict(jsonable_encoder(work(connection)))

        with transaction(self.console.database) as connection:
            if self._key is None:
                return work(connection)
            asked = {"path": self._path, "body": body.model_dump() if body else None}
            fingerprint = json.dumps(asked, sort_keys=True).encode()
            told = tokens.once(connection, self._token, self._key, fingerprint, plain)
        return shape.model_validate(told)


Writing = Annotated[Write, Depends()]
