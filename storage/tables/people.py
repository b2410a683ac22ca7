"""The people who moderate, how they and their programs sign in, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from sqlalchemy import CheckConstraint, Column, Index, String, UniqueConstraint

from storage.base.columns import NUMBERED, PRIMARY, UNIQUE, Id, RowId, table

ROLES: Final = ("viewer", "moderator", "lead", "admin")
"""Each may do what those before it may."""

ModeratorId = Annotated[RowId, "moderators.id"]
Name = Annotated[str, String(64)]
TokenHash = Annotated[str, String(64), UNIQUE]


@dataclass(frozen=True, slots=True)
class ModeratorRow:
    """A person who works the flags. Never removed, for decisions point to them."""

    id: Id
    name: Annotated[Name, UNIQUE]
    email: Annotated[str | None, String(254)]
    role: Annotated[str, String(16)]
    settings: Mapping[str, Any]
    created_at: datetime
    disabled_at: datetime | None


moderators: Final = table(
    "moderators",
    ModeratorRow,
    Column("password_hash", String(200)),
    CheckConstraint("role IN ('viewer', 'moderator', 'lead', 'admin')", name="role_is_known"),
    NUMBERED,
)


class SessionRow:
    """A browser in which somebody is signed in; only the hash of its token is kept."""

    id: Id
    token_hash: TokenHash
    moderator_id: ModeratorId
    client: Annotated[str, String(200)]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None


sessions: Final = table(
    "sessions", SessionRow, Index("ix_sessions_moderator_id", "moderator_id"), NUMBERED
)


class SignInLinkRow:
    """A link that signs somebody in, once."""

    token_hash: Annotated[str, String(64), PRIMARY]
    moderator_id: ModeratorId
    sets_password: bool
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


sign_in_links: Final = table("sign_in_links", SignInLinkRow)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an OpenID provider says that a moderator is."""

    id: Id
    issuer: Annotated[str, String(500)]
    subject: Annotated[str, String(255)]
    moderator_id: ModeratorId
    created_at: datetime


identities: Final = table(
    "identities",
    Identity,
    UniqueConstraint("issuer", "subject", name="uq_identities_issuer_subject"),
    UniqueConstraint("moderator_id", "issuer", name="uq_identities_moderator_id_issuer"),
    NUMBERED,
)


class SignInFailureRow:
    """How often a password was wrong, by account and by the place it came from."""

    name: Annotated[Name, PRIMARY]
    place: Annotated[str, String(64), PRIMARY]
    failures: int
    last_at: datetime


sign_in_failures: Final = table(
    "sign_in_failures", SignInFailureRow, Index("ix_sign_in_failures_last_at", "last_at")
)


class ApiTokenRow:
    """What a program signs in with; only its hash is kept."""

    id: Id
    token_hash: TokenHash
    name: Annotated[str, String(100)]
    scopes: Sequence[str]
    moderator_id: ModeratorId
    created_by: Name
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


api_tokens: Final = table("api_tokens", ApiTokenRow, NUMBERED)


class IdempotencyKeyRow:
    """What was answered to a write, so that the same write again gets the same answer."""

    token_id: Annotated[RowId, "api_tokens.id", PRIMARY]
    key: Annotated[str, String(255), PRIMARY]
    request_hash: Annotated[str, String(64)]
    answer: Mapping[str, Any] | None
    created_at: datetime


idempotency_keys: Final = table(
    "idempotency_keys", IdempotencyKeyRow, Index("ix_idempotency_keys_created_at", "created_at")
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what. Rows are added, never changed: the migration's triggers see to it."""

    id: Id
    at: datetime
    actor: Name
    action: Annotated[str, String(64)]
    subject: Annotated[str, String(300)]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    address: Annotated[str | None, String(64)]


audit_log: Final = table(
    "audit_log",
    AuditEntry,
    Index("ix_audit_log_actor_id", "actor", "id"),
    Index("ix_audit_log_action_id", "action", "id"),
    NUMBERED,
)


class AuditRetentionRow:
    """Before when entries of the audit log may be removed; its triggers ask. At most one row."""

    id: Annotated[int, PRIMARY, {"autoincrement": False}]
    entries_before: datetime


audit_retention: Final = table(
    "audit_retention", AuditRetentionRow, CheckConstraint("id = 1", name="there_is_one")
)
