"""Verdicts, flags, dead letters, gone posts, evidence.

Written out and not taken from `storage.tables`: a migration must do in a year what it does
today.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates the first tables."""
    op.create_table(
        "verdicts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("post_id", sa.String(256), nullable=False),
        sa.Column("author", sa.String(256), nullable=True),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("calibration_version", sa.String(200), nullable=False),
        sa.Column("policy_version", sa.String(200), nullable=False),
        sa.Column("negative", sa.Double(), nullable=False),
        sa.Column("neutral", sa.Double(), nullable=False),
        sa.Column("positive", sa.Double(), nullable=False),
        sa.Column("sarcasm", sa.Double(), nullable=False),
        sa.Column("text_alone", _JSON, nullable=True),
        sa.Column("image_alone", _JSON, nullable=True),
        sa.Column("degraded", _JSON, nullable=False),
        sa.Column("evidence", _JSON, nullable=False),
        sa.Column("timings", _JSON, nullable=False),
        sa.Column("posted_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.UniqueConstraint(
            "post_id",
            "content_hash",
            "model_version",
            "calibration_version",
            "policy_version",
            name="uq_verdicts_version",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_verdicts_post_id_id", "verdicts", ["post_id", "id"])
    op.create_index("ix_verdicts_created_at", "verdicts", ["created_at"])

    op.create_table(
        "flags",
        sa.Column("id", _ID, nullable=False),
        sa.Column("post_id", sa.String(256), nullable=False),
        sa.Column("verdict_id", _ID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("reasons", _JSON, nullable=False),
        sa.Column("claimed_by", sa.String(256), nullable=True),
        sa.Column("claim_expires_at", _MOMENT, nullable=True),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flags"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name="fk_flags_verdict_id"),
        sa.CheckConstraint(
            "state IN ('open', 'claimed', 'escalated', 'decided')",
            name=op.f("ck_flags_state_is_known"),
        ),
        sqlite_autoincrement=True,
    )
    unclosed = sa.text("state IN ('open', 'claimed', 'escalated')")
    op.create_index(
        "uq_flags_unclosed_post_id",
        "flags",
        ["post_id"],
        unique=True,
        sqlite_where=unclosed,
        postgresql_where=unclosed,
    )
    op.create_index(
        "ix_flags_work", "flags", ["state", "queue", sa.text("priority DESC"), "opened_at"]
    )
    op.create_index("ix_flags_post_id", "flags", ["post_id"])
    op.create_index("ix_flags_verdict_id", "flags", ["verdict_id"])

    op.create_table(
        "dead_letters",
        sa.Column("id", _ID, nullable=False),
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("replayed_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
        sqlite_autoincrement=True,
    )
    unreplayed = sa.text("replayed_at IS NULL")
    op.create_index(
        "uq_dead_letters_unreplayed_post_id",
        "dead_letters",
        ["post_id"],
        unique=True,
        sqlite_where=unreplayed,
        postgresql_where=unreplayed,
    )

    op.create_table(
        "gone_posts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("post_id", sa.String(256), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gone_posts"),
        sa.UniqueConstraint("post_id", name="uq_gone_posts_post_id"),
    )

    op.create_table(
        "evidence",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_evidence"),
        sa.CheckConstraint(
            "kind IN ('text', 'original_text', 'image')", name=op.f("ck_evidence_kind_is_known")
        ),
    )


def downgrade() -> None:
    """Removes them, with all they hold."""
    for table in ("evidence", "gone_posts", "dead_letters", "flags", "verdicts"):
        op.drop_table(table)
