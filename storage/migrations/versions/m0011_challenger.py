"""What a challenger says beside the champion's verdicts. A new table only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "challenger_verdicts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("post_id", sa.String(256), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("calibration_version", sa.String(200), nullable=False),
        sa.Column("policy_version", sa.String(200), nullable=False),
        sa.Column("champion_model_version", sa.String(200), nullable=False),
        sa.Column("champion_calibration_version", sa.String(200), nullable=False),
        sa.Column("negative", sa.Double(), nullable=False),
        sa.Column("neutral", sa.Double(), nullable=False),
        sa.Column("positive", sa.Double(), nullable=False),
        sa.Column("sarcasm", sa.Double(), nullable=False),
        sa.Column("rules", _JSON, nullable=False),
        sa.Column("champion_rules", _JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_challenger_verdicts"),
        sa.UniqueConstraint(
            "post_id",
            "content_hash",
            "model_version",
            "calibration_version",
            "policy_version",
            name="uq_challenger_verdicts_version",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_challenger_verdicts_created_at", "challenger_verdicts", ["created_at"])


def downgrade() -> None:
    """Removes it, with all it holds."""
    op.drop_table("challenger_verdicts")
