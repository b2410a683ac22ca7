"""The tables, as SQLAlchemy sees them; `docs/tables.md` says what each column means.

They hold on SQLite and on PostgreSQL alike. A change here needs a migration in
`storage/migrations/versions/`; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.base.columns import NUMBERED, Base, Id, JsonValue, UtcDateTime
from storage.base.text import UNKNOWN_LANGUAGE
from storage.tables import challenger as challenger_tables
from storage.tables import console as console_tables
from storage.tables import reviews as review_tables

__all__ = ["Base", "UtcDateTime", "challenger_tables", "console_tables", "review_tables"]

#: The states of a flag that still waits for a human; a post has at most one such flag.
UNCLOSED_STATES: Final = ("open", "claimed", "escalated")
FLAG_STATES: Final = (*UNCLOSED_STATES, "decided")

#: Written out, because SQLite and PostgreSQL match an ON CONFLICT clause with a partial index only
#: if both carry the very same literal condition.
UNCLOSED_FLAG: Final = "state IN ('open', 'claimed', 'escalated')"
UNREPLAYED_DEAD_LETTER: Final = "replayed_at IS NULL"
PENDING_EVENT: Final = "delivered_at IS NULL AND parked_at IS NULL"
PARKED_EVENT: Final = "parked_at IS NOT NULL"
DELIVERED_EVENT: Final = "delivered_at IS NOT NULL"


class VerdictRow(Base):
    """A prediction written down. Rows are added, never changed."""

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[str] = mapped_column(String(256))
    author: Mapped[str | None] = mapped_column(String(256))
    content_hash: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(200))
    calibration_version: Mapped[str] = mapped_column(String(200))
    policy_version: Mapped[str] = mapped_column(String(200))
    negative: Mapped[float] = mapped_column(Double)
    neutral: Mapped[float] = mapped_column(Double)
    positive: Mapped[float] = mapped_column(Double)
    sarcasm: Mapped[float] = mapped_column(Double)
    text_alone: Mapped[dict[str, float] | None] = mapped_column(JsonValue)
    image_alone: Mapped[dict[str, float] | None] = mapped_column(JsonValue)
    degraded: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
    evidence: Mapped[list[dict[str, str]]] = mapped_column(JsonValue)
    timings: Mapped[dict[str, float]] = mapped_column(JsonValue)
    posted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    explanation: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    traceparent: Mapped[str | None] = mapped_column(String(55))
    unread: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, server_default=text("'[]'"))

    __table_args__ = (
        UniqueConstraint(
            "post_id",
            "content_hash",
            "model_version",
            "calibration_version",
            "policy_version",
            name="uq_verdicts_version",
        ),
        # The latest verdict of a post is the one with the greatest id: workers' clocks differ.
        Index("ix_verdicts_post_id_id", "post_id", "id"),
        Index("ix_verdicts_created_at", "created_at"),
        NUMBERED,
    )


class FlagRow(Base):
    """A post waiting for, or closed by, a human."""

    __tablename__ = "flags"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[str] = mapped_column(String(256))
    verdict_id: Mapped[int] = mapped_column(Id, ForeignKey("verdicts.id"))
    state: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[int] = mapped_column(Integer)
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
    claimed_by: Mapped[str | None] = mapped_column(String(256))
    claim_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    row_version: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    author: Mapped[str | None] = mapped_column(String(256))
    negative: Mapped[float | None] = mapped_column(Double)
    sarcasm: Mapped[float | None] = mapped_column(Double)
    escalated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(16))
    search_text: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(3), server_default=UNKNOWN_LANGUAGE)

    __table_args__ = (
        CheckConstraint(
            "state IN ('open', 'claimed', 'escalated', 'decided')", name="state_is_known"
        ),
        Index(
            "uq_flags_unclosed_post_id",
            "post_id",
            unique=True,
            sqlite_where=text(UNCLOSED_FLAG),
            postgresql_where=text(UNCLOSED_FLAG),
        ),
        # All end in the id, so that a page and the next flag are read in the order of an index.
        Index("ix_flags_work", "state", "queue", text("priority DESC"), "opened_at", "id"),
        Index("ix_flags_priority", "state", text("priority DESC"), "opened_at", "id"),
        Index("ix_flags_language", "state", "language", text("priority DESC"), "opened_at", "id"),
        Index("ix_flags_post_id", "post_id"),
        Index("ix_flags_author_id", "author", "id"),
        Index("ix_flags_opened_at", "opened_at"),
        Index("ix_flags_closed_at", "closed_at"),
        Index("ix_flags_verdict_id", "verdict_id"),
        NUMBERED,
    )


class FlagRuleRow(Base):
    """A rule that fired for a flag: what `reasons` says too, where an index finds it. No foreign
    key: see its migration.
    """

    __tablename__ = "flag_rules"

    rule: Mapped[str] = mapped_column(String(100), primary_key=True)
    flag_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)

    __table_args__ = (Index("ix_flag_rules_flag_id", "flag_id"),)


class DeadLetterRow(Base):
    """A post that could not be judged; `post_id` is a printed form, for an id may be anything."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(String(64))
    error: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index(
            "uq_dead_letters_unreplayed_post_id",
            "post_id",
            unique=True,
            sqlite_where=text(UNREPLAYED_DEAD_LETTER),
            postgresql_where=text(UNREPLAYED_DEAD_LETTER),
        ),
        NUMBERED,
    )


class GonePostRow(Base):
    """A post that its source no longer has: an outcome, not an error."""

    __tablename__ = "gone_posts"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[str] = mapped_column(String(256), unique=True)
    why: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EvidenceRow(Base):
    """One thing the model saw; its content lies in the evidence store under `sha256`."""

    __tablename__ = "evidence"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(100))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint("kind IN ('text', 'original_text', 'image')", name="kind_is_known"),
    )


def _partial_index(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class EvidenceUseRow(Base):
    """That a verdict has a piece of evidence: what its `evidence` says too, found by SHA-256. No
    foreign key: see its migration.
    """

    __tablename__ = "evidence_uses"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    verdict_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)

    __table_args__ = (Index("ix_evidence_uses_verdict_id", "verdict_id"),)


class OutboxRow(Base):
    """Something that the platform is told; pending until it was delivered or parked."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    event: Mapped[str] = mapped_column(String(64))
    post_id: Mapped[str] = mapped_column(String(256))
    idempotency_key: Mapped[str] = mapped_column(String(128), unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    parked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    traceparent: Mapped[str | None] = mapped_column(String(55))

    # Of millions of rows few are pending or parked: these indexes hold only those.
    __table_args__ = (
        _partial_index("ix_outbox_due", "next_attempt_at", "id", where=PENDING_EVENT),
        _partial_index("ix_outbox_order", "post_id", "id", where=PENDING_EVENT),
        _partial_index("ix_outbox_parked", "id", where=PARKED_EVENT),
        _partial_index("ix_outbox_delivered_at", "delivered_at", where=DELIVERED_EVENT),
        NUMBERED,
    )


class ErasureRow(Base):
    """The receipt of an erasure; it keeps no id and no content."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    subject_sha256: Mapped[str] = mapped_column(String(64))
    requested_by: Mapped[str] = mapped_column(String(256))
    counts: Mapped[dict[str, int]] = mapped_column(JsonValue)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint("kind IN ('post', 'author')", name="kind_is_known"),
        Index("ix_erasures_subject_sha256_kind", "subject_sha256", "kind"),
        NUMBERED,
    )


class LeaseRow(Base):
    """What one of several processes holds for a while, such as the lead in housekeeping."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CompatibilityRow(Base):
    """The one row that says which versions of Deadpan this database works with."""

    __tablename__ = "compatibility"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    oldest_revision: Mapped[str] = mapped_column(String(32))

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


verdicts: Final = cast(Table, VerdictRow.__table__)
flags: Final = cast(Table, FlagRow.__table__)
flag_rules: Final = cast(Table, FlagRuleRow.__table__)
dead_letters: Final = cast(Table, DeadLetterRow.__table__)
gone_posts: Final = cast(Table, GonePostRow.__table__)
evidence: Final = cast(Table, EvidenceRow.__table__)
evidence_uses: Final = cast(Table, EvidenceUseRow.__table__)
outbox: Final = cast(Table, OutboxRow.__table__)
leases: Final = cast(Table, LeaseRow.__table__)
erasures: Final = cast(Table, ErasureRow.__table__)
compatibility: Final = cast(Table, CompatibilityRow.__table__)
