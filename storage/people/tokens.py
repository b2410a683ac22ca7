"""API tokens, shown once and kept as hashes; and answers kept for writes that come twice."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, select, update

from deadpan.core.errors import ConfigurationError, FlagConflict, NotFound
from storage.base.database import insert
from storage.base.text import clean_json, clean_text
from storage.people import audit, moderators
from storage.people.moderators import Moderator
from storage.people.sessions import hash_of
from storage.tables import api_tokens, idempotency_keys

SCOPES: Final = (
    "posts:write",
    "verdicts:read",
    "flags:read",
    "flags:decide",
    "flags:appeal",
    "reviews:vote",
    "dead-letters:read",
    "dead-letters:replay",
    "audit:read",
    "agreement:read",
    "scaling:read",
    "metrics:read",
)
_PREFIX: Final = "deadpan_"
"""So that scanners recognise a token where it should not be, as in a repository."""
_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What a program signs in with; see `docs/tables.md`."""

    id: int
    name: str
    scopes: Sequence[str]
    moderator: Moderator
    created_by: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def make(
    connection: Connection, moderator: Moderator, name: str, scopes: Sequence[str], *, actor: str
) -> str:
    """Makes a token that acts in a moderator's name, and returns it; it is never shown again.

    Raises:
        ConfigurationError: an unknown scope, none at all, or no name.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        said = f"unknown scope {unknown[0][:80]!r}" if unknown else "a token needs a scope"
        raise ConfigurationError(f"{said}; use {', '.join(SCOPES)}")
    label = clean_text(name.strip(), 100)
    if not label:
        raise ConfigurationError("a token needs a name that says what it is for")
    token = _PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        api_tokens.insert().values(
            token_hash=hash_of(token),
            name=label,
            scopes=sorted(set(scopes)),
            moderator_id=moderator.id,
            created_by=actor,
            created_at=datetime.now(UTC),
        )
    )
    audit.write(
        connection,
        actor,
        "token.make",
        f"token {label} of {moderator.name}",
        after={"scopes": sorted(set(scopes))},
    )
    return token


def find(connection: Connection, token: str) -> ApiToken | None:
    """Returns a token that was not revoked; its moderator may be disabled."""
    row = connection.execute(
        select(api_tokens).where(
            api_tokens.c.token_hash == hash_of(token), api_tokens.c.revoked_at.is_(None)
        )
    ).one_or_none()
    return None if row is None else _token(connection, row)


def touch(connection: Connection, token: ApiToken) -> None:
    """Notes that the token was used."""
    connection.execute(
        update(api_tokens).where(api_tokens.c.id == token.id).values(last_used_at=datetime.now(UTC))
    )


def everything(connection: Connection) -> list[ApiToken]:
    """Returns all tokens, newest first, revoked ones too."""
    rows = connection.execute(select(api_tokens).order_by(api_tokens.c.id.desc())).all()
    return [_token(connection, row) for row in rows]


def revoke(connection: Connection, token_id: int, *, actor: str) -> None:
    """Revokes a token; NotFound if there is none."""
    row = connection.execute(select(api_tokens).where(api_tokens.c.id == token_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no token {token_id}")
    connection.execute(
        update(api_tokens)
        .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
    )
    audit.write(connection, actor, "token.revoke", f"token {row.name}")


def once(
    connection: Connection,
    token: ApiToken,
    key: str,
    request: bytes,
    work: Callable[[], Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Does the work of a write once for each key, and returns the same answer ever after.

    The key is stored first: of two requests that come at once, the second waits for the first to
    commit. Work, whose answer must be JSON, runs in the same transaction and leaves no key when it
    raises.

    Raises:
        FlagConflict: the key was used for another request.
    """
    columns = idempotency_keys.c
    now = datetime.now(UTC)
    fingerprint = hashlib.sha256(request).hexdigest()
    connection.execute(delete(idempotency_keys).where(columns.created_at < now - _KEPT))
    statement = insert(connection, idempotency_keys).values(
        token_id=token.id, key=clean_text(key, 255), request_hash=fingerprint, created_at=now
    )
    inserted = connection.execute(
        statement.on_conflict_do_nothing(index_elements=["token_id", "key"]).returning(columns.key)
    ).one_or_none()
    mine = (columns.token_id == token.id) & (columns.key == clean_text(key, 255))
    if inserted is None:
        row = connection.execute(select(idempotency_keys).where(mine)).one()
        if row.request_hash != fingerprint:
            raise FlagConflict("this Idempotency-Key was used for another request; use a new one")
        answer: Mapping[str, Any] = row.answer
        return answer
    answer = work()
    connection.execute(update(idempotency_keys).where(mine).values(answer=clean_json(answer)))
    return answer


def _token(connection: Connection, row: Any) -> ApiToken:
    values = {name: getattr(row, name) for name in ApiToken.__slots__ if name != "moderator"}
    return ApiToken(**values, moderator=moderators.by_id(connection, row.moderator_id))
