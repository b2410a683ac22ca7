"""The tables of the console: who moderates, what they decided, and what was done by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.base.columns import NUMBERED, Base, Id, JsonValue, UtcDateTime

ROLES: Final = ("viewer", "moderator", "lead", "admin")
"""Each may do what those before it may."""


class ModeratorRow(Base):
    """A person who works the flags. Never removed, for decisions point to them."""

    __tablename__ = "moderators"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(254))
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None] = mapped_column(String(200))
    settings: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'moderator', 'lead', 'admin')", name="role_is_known"),
        NUMBERED,
    )


class DecisionRow(Base):
    """What a moderator said of a flag. Rows are added, never changed."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    flag_id: Mapped[int] = mapped_column(Id, ForeignKey("flags.id"))
    verdict_id: Mapped[int] = mapped_column(Id, ForeignKey("verdicts.id"))
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    action: Mapped[str] = mapped_column(String(16))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None] = mapped_column(Text)
    sentiment: Mapped[str | None] = mapped_column(String(16))
    sarcastic: Mapped[bool | None] = mapped_column(Boolean)
    agrees_sentiment: Mapped[bool | None] = mapped_column(Boolean)
    agrees_sarcasm: Mapped[bool | None] = mapped_column(Boolean)
    seconds_taken: Mapped[float | None] = mapped_column(Double)
    undoes: Mapped[int | None] = mapped_column(Id, ForeignKey("decisions.id"), unique=True)
    batch: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(
            "action IN ('approve', 'remove', 'escalate', 'skip', 'undo')", name="action_is_known"
        ),
        Index("ix_decisions_flag_id_id", "flag_id", "id"),
        Index("ix_decisions_moderator_id_id", "moderator_id", "id"),
        Index("ix_decisions_batch", "batch"),
        Index("ix_decisions_created_at", "created_at"),
        Index("ix_decisions_verdict_id", "verdict_id"),
        NUMBERED,
    )


class SessionRow(Base):
    """A browser in which somebody is signed in; only the hash of its token is kept."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    client: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_sessions_moderator_id", "moderator_id"), NUMBERED)


class SignInLinkRow(Base):
    """A link that signs somebody in, once."""

    __tablename__ = "sign_in_links"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    sets_password: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class IdentityRow(Base):
    """Who an OpenID provider says that a moderator is."""

    __tablename__ = "identities"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("issuer", "subject", name="uq_identities_issuer_subject"),
        UniqueConstraint("moderator_id", "issuer", name="uq_identities_moderator_id_issuer"),
        NUMBERED,
    )


class SignInFailureRow(Base):
    """How often a password was wrong, by account and by the place it came from."""

    __tablename__ = "sign_in_failures"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_sign_in_failures_last_at", "last_at"),)


class ApiTokenRow(Base):
    """What a program signs in with; only its hash is kept."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[list[str]] = mapped_column(JsonValue)
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (NUMBERED,)


class IdempotencyKeyRow(Base):
    """What was answered to a write, so that the same write again gets the same answer."""

    __tablename__ = "idempotency_keys"

    token_id: Mapped[int] = mapped_column(Id, ForeignKey("api_tokens.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    answer: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


class AuditRow(Base):
    """Who did what to what. Rows are added, never changed: the migration's triggers see to it."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(300))
    before: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    after: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    address: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        Index("ix_audit_log_actor_id", "actor", "id"),
        Index("ix_audit_log_action_id", "action", "id"),
        NUMBERED,
    )


class AuditRetentionRow(Base):
    """Before when entries of the audit log may be removed; its triggers ask. At most one row."""

    __tablename__ = "audit_retention"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    entries_before: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (CheckConstraint("id = 1", name="there_is_one"),)


class TallyRow(Base):
    """How many rows were ever added, in several parts so that writers seldom wait for another."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


moderators: Final = cast(Table, ModeratorRow.__table__)
decisions: Final = cast(Table, DecisionRow.__table__)
sessions: Final = cast(Table, SessionRow.__table__)
sign_in_links: Final = cast(Table, SignInLinkRow.__table__)
identities: Final = cast(Table, IdentityRow.__table__)
sign_in_failures: Final = cast(Table, SignInFailureRow.__table__)
api_tokens: Final = cast(Table, ApiTokenRow.__table__)
idempotency_keys: Final = cast(Table, IdempotencyKeyRow.__table__)
audit_log: Final = cast(Table, AuditRow.__table__)
audit_retention: Final = cast(Table, AuditRetentionRow.__table__)
tallies: Final = cast(Table, TallyRow.__table__)
